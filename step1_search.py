"""Stage 1: retrieve with dense, sparse, multi-vector and hybrid retrievers over the stores of stage 0.

    python step1_search.py experiment=demo
    python step1_search.py languages=[ko,fa]
    python step1_search.py languages=[ko,fa] retriever=[dense,sparse,dense_sparse]

Writes one run in TREC format per retriever and language. `--help` lists the settings; step2_eval.py comes next.
"""

from m3eval import search
from m3eval.config import stage

if __name__ == "__main__":
    stage(search.run)()
