"""Text -> vectors: one file per family of checkpoints, each giving an `Encoder` (a backbone and its heads)."""
