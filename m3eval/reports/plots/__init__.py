"""Pictures of results: numbers in, matplotlib figures out, which are written as SVG and PNG."""
