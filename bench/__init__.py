"""Measures speed and memory. Each module with a `main` is a command; the package imports none."""
