"""Objectives: a model, what a step computes of its embeddings, and the checkpoint it becomes."""
