"""Numbers -> a static site: pages that open from disk, with their data in scripts beside them.

It knows results, and nothing of stores.
"""
