"""Numbers -> people: tables on the terminal and in files.

Reports know scores only, nothing of models or stores.
"""
