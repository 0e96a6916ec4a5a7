"""Stage 0: encode a corpus and its queries into dense, sparse and multi-vector representations.

    python step0_embed.py experiment=demo                    the built-in benchmark and encoder, no network
    python step0_embed.py languages=[ko,fa]                  MIRACL Korean and Persian with BGE-M3
    python step0_embed.py encoder.checkpoint=/models/my-m3 encoder.name=my-m3 benchmark.root=/mirror

Run it again after an interruption: finished shards are kept. `--help` lists the settings; step1_search.py comes next.
"""

from m3eval import embed
from m3eval.config import stage

if __name__ == "__main__":
    stage(embed.run)()
