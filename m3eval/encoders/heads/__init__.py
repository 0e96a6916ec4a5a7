"""From hidden states to representations: a file per kind of head, and their collectors."""
