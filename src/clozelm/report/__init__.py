"""Tables, plots and pages from plain data."""
