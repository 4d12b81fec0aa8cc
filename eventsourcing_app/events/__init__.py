"""What is said: event declarations, their registry, canonical JSON and evolution."""
