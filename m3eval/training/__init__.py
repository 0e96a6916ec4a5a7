"""Training what m3eval evaluates: the result is a checkpoint that stage 0 reads like any other."""
