"""From vectors or texts to ranked lists: one file per kind of retriever.

`retriever` says what a retriever is, `sources` what it may read, `run` what it returns, and
`scores` has the maths that all of them share.
"""
