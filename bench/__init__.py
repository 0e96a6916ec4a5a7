"""Speed and memory, measured. Nothing here is imported by the package; each module is a command."""
