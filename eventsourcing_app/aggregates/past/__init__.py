"""What aggregates were: states at a version or a moment, lists of a moment, and what changed."""
