"""What is asked: a file per benchmark, each of which gives a `Task` for every language.

Values of a benchmark's protocol (text rules, depths, weights, metrics) stand in conf/benchmark.
"""
