"""Measures the package beside its peers: ``make bench``, or ``python -m tests.benchmarks --help``.

Every contestant works in processes of its own, which are started and warmed up before anything is timed; samples are
taken in turn, so that what disturbs the machine disturbs all. Figures are no test: see ``tests/test_benchmarks.py`` for
what is one.
"""
