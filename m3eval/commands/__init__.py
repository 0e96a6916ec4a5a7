"""What a person asks for by name, besides the stages: one file per command."""
