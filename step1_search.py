"""Stage 1 in a checkout: stores, or texts -> ranked lists. The same as `m3eval search`.

    python step1_search.py experiment=demo
    python step1_search.py languages=[ko,fa] retriever=[dense,sparse,dense_sparse]

Writes one run in TREC format per retriever and language. step2_eval.py comes next.
"""

import sys

from m3eval.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["search", *sys.argv[1:]]))
