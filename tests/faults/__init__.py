"""Faults put in on purpose: kills, damage, processes at once, full disks, bad and hostile inputs.

`make faults` runs all of it and writes results/reliability.md; `make test` runs the quick half.
"""
