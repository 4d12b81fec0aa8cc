"""What ``manage.py demo`` does: a year of seeded history, demo logins, real processes, and a check of the whole."""
