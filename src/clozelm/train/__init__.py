"""The loop that learns, and the yardstick that measures."""
