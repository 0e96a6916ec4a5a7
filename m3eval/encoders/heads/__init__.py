"""From hidden states to representations: one file per kind of head, and what collects their results."""
