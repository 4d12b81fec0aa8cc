"""Read models, built from events in the transaction that moves their checkpoint."""
