"""Stage 2 in a checkout: ranked lists -> scores and tables. The same as `m3eval evaluate`.

    python step2_eval.py experiment=demo
    python step2_eval.py languages=[ko,fa] benchmark.metrics=[nDCG@10,R@100,RR@10]

Writes scores as CSV, Markdown and JSON with all that they rest on, and every query's score.
"""

import sys

from m3eval.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
