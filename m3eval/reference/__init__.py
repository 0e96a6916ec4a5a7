"""What others published: tables of scores and worked examples, as data with their sources."""
