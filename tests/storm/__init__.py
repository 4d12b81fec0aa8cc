"""Loads of real processes against the log on PostgreSQL, readers that follow them, and a nemesis that kills them.

- The settled position: ``run`` starts programs, each with one JSON argument and ending with one JSON line, and counts
  what each reader skipped: ``writers`` (``mixed`` or ``dense``), ``readers`` (``naive`` or ``last_value``: how not to
  read) and ``settled_reader`` (the library).
- Deliveries: ``delivery`` is the program. ``supervisor`` forks the processes that ``roles`` describe, ``nemesis`` kills
  them and the server, ``collect`` gathers what is left, and ``checker`` judges it. ``bugs`` are what the checker has to
  find, in the ``scenes`` that show them.
"""
