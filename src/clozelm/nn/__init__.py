"""The bidirectional encoder and its heads."""
