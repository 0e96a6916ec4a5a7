"""Trains an encoder: `m3eval train`. What it does is `training/run.py`."""

from __future__ import annotations

from pathlib import Path

from m3eval.config import Setup
from m3eval.config.setup import builder
from m3eval.config.tree import plain
from m3eval.console import say
from m3eval.runtime import settle


def run(setup: Setup) -> None:
    """Trains what the configuration says, or goes on where a training was interrupted.

    Raises:
        UserError: the configuration, the start or the data cannot be used.
    """
    from m3eval.training.data import read
    from m3eval.training.run import DataSettings, TrainerSettings, Training
    from m3eval.training.start import opened

    cfg = setup.cfg
    data = DataSettings(**plain(cfg.data))  # pyright: ignore[reportArgumentType]
    training = Training(
        folder=Path(cfg.output_dir).expanduser() / "training" / cfg.name,
        objective=builder(cfg.objective)(),
        start=opened(cfg.start, cfg.revision),
        examples=read(data.files),
        data=data,
        trainer=TrainerSettings(**plain(cfg.trainer)),
        runtime=settle(**cfg.runtime),
        seed=cfg.seed,
    )
    say(f"trained    {training()}")
