"""Benchmarks: programs whose output is a table, run by ``make bench``."""
