"""Results as other tools read them: a file for each format, and what all of them are given."""
