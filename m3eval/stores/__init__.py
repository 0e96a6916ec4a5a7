"""Vectors on disk: what they are, from what, how they were made, and whether they are finished."""
