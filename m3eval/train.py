"""`python -m m3eval.train`: the same as `m3eval train`, for launchers that start a module.

torchrun --nproc-per-node 8 -m m3eval.train start=BAAI/bge-m3 data.files=[mine.jsonl] name=mine
"""

import sys

from m3eval.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
