"""Stage 1: retrieve with dense, sparse, multi-vector and hybrid retrievers over the stores of stage 0.

    python step1_search.py experiment=demo
    python step1_search.py languages=[ko,fa]
    python step1_search.py languages=[ko,fa] retriever=[dense,sparse,dense_sparse]

Writes one run in TREC format per retriever and language. `--help` lists the settings; step2_eval.py comes next.
"""

import hydra
from omegaconf import DictConfig

from m3eval.config import CONFIG_DIR, stage
from m3eval.stages import search


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="config")
def main(cfg: DictConfig) -> None:
    """Composes the configuration from conf/ and the command line, checks it, runs the stage."""
    stage(search.run, cfg)


if __name__ == "__main__":
    main()
