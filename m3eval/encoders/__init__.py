"""Text -> vectors. `encoder.TextEncoder` says what an encoder is; a file per family builds one."""
