"""Stage 0 in a checkout: texts -> representations in stores. The same as `m3eval embed`.

    python step0_embed.py experiment=demo          the built-in benchmark and encoder, no network
    python step0_embed.py languages=[ko,fa]        MIRACL Korean and Persian with BGE-M3

Run it again after an interruption: finished shards are kept. step1_search.py comes next.
"""

import sys

from m3eval.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["embed", *sys.argv[1:]]))
