"""Lists -> numbers: ranking metrics by judged documents, and recall by answer strings."""
