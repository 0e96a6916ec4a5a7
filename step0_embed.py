"""Stage 0: encode a corpus and its queries into dense, sparse and multi-vector representations.

    python step0_embed.py experiment=demo                    the built-in benchmark and encoder, no network
    python step0_embed.py languages=[ko,fa]                  MIRACL Korean and Persian with BGE-M3
    python step0_embed.py encoder.checkpoint=/models/my-m3 encoder.name=my-m3 benchmark.root=/mirror

Run it again after an interruption: finished shards are kept. `--help` lists the settings; step1_search.py comes next.
"""

import hydra
from omegaconf import DictConfig

from m3eval.config import CONFIG_DIR, stage
from m3eval.stages import embed


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="config")
def main(cfg: DictConfig) -> None:
    """Composes the configuration from conf/ and the command line, checks it, runs the stage."""
    stage(embed.run, cfg)


if __name__ == "__main__":
    main()
