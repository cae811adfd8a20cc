"""Whole jobs, from files to results, and the ``Model`` that users import."""
