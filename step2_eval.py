"""Stage 2: score the runs of stage 1 and write tables.

    python step2_eval.py experiment=demo
    python step2_eval.py languages=[ko,fa]
    python step2_eval.py languages=[ko,fa] benchmark.metrics=[nDCG@10,R@100,RR@10]

Writes scores as CSV, Markdown and JSON with their provenance, and every query's score. `--help` lists the settings.
"""

import hydra
from omegaconf import DictConfig

from m3eval.config import CONFIG_DIR, stage
from m3eval.stages import evaluate


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="config")
def main(cfg: DictConfig) -> None:
    """Composes the configuration from conf/ and the command line, checks it, runs the stage."""
    stage(evaluate.run, cfg)


if __name__ == "__main__":
    main()
