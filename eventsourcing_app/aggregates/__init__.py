"""Event-sourced models: commands decide, events change state, the row is the state."""
