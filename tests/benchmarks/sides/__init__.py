"""Who is measured: a module a side. A function prepares one work and returns its sample; ``stored`` counts events."""
