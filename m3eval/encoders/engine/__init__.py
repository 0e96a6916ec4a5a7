"""From texts to hidden states: tokens, packs of texts, the forward pass, and a device kept busy."""
