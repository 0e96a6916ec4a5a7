"""Losses: tensors in, scalars out; nothing of models, data or devices."""
