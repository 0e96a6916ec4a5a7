"""From ranked lists to numbers: metrics over judged documents, and recall of answer strings."""
