"""m3eval: does a multilingual retriever do what its paper says?

It reads in the order in which data flows: `benchmarks` (what is asked), `encoders` (text ->
vectors), `stores` (vectors on disk), `retrievers` (vectors -> ranked lists), `metrics` (lists ->
numbers) and `reports` (numbers -> people). `stages` puts them together, `commands` are what
`m3eval` is told to do.
"""

import os

__version__ = "0.1.0"

# OpenMP threads that wait must sleep, not spin: with a second busy process on the machine, spinning
# made two threads slower than one. The variable is read when the OpenMP runtime is loaded, hence
# here, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
