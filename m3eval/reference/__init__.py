"""What others published: tables of scores and a worked example, as data with their sources."""
