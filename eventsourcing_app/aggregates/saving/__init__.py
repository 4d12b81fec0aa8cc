"""Writing aggregates: their rows and their events in one transaction, each row only as it was loaded."""
