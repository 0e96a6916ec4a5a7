"""Stage 2: score the runs of stage 1 and write tables.

    python step2_eval.py experiment=demo
    python step2_eval.py languages=[ko,fa]
    python step2_eval.py languages=[ko,fa] benchmark.metrics=[nDCG@10,R@100,RR@10]

Writes scores as CSV, Markdown and JSON with their provenance, and every query's score. `--help` lists the settings.
"""

from m3eval import evaluate
from m3eval.config import stage

if __name__ == "__main__":
    stage(evaluate.run)()
