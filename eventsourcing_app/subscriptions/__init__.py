"""Who reacts: registry, durable progress, and the loop that delivers events."""
