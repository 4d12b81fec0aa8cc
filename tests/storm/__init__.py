"""A load of real processes against the log on PostgreSQL, and readers that follow it while it runs.

Programs, each started with one JSON argument and ending with one JSON line: ``writers`` (``mixed`` or ``dense``),
``readers`` (``naive`` or ``last_value``: how not to read) and ``settled_reader`` (the library). ``run`` starts them
and counts what each reader skipped.
"""
