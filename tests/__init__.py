"""The tests: one guarantee a file, on SQLite and on PostgreSQL."""
