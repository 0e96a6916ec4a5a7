"""Vectors -> ranked lists: one file per kind of retriever; `run` is what they return, `scores` the maths they share."""
