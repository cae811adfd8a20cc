"""Tokens on disk and how they become rows: store, packing plan, loader, the corpus pipeline."""
