"""Throughput beside peers on the same machine, rows and tokens per step; `make bench` runs it."""
