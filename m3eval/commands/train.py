"""Trains an encoder: `m3eval train`. What it does is `training/run.py`."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from m3eval.config import Setup
from m3eval.config.schema import hints
from m3eval.config.setup import builder
from m3eval.config.tree import plain
from m3eval.console import say
from m3eval.errors import UserError
from m3eval.remote import require_folder
from m3eval.runtime import settle


def run(setup: Setup) -> None:
    """Trains what the configuration says, or goes on where a training was interrupted.

    Raises:
        UserError: the configuration, the start or the data cannot be used.
    """
    if find_spec("accelerate") is None:
        raise UserError("m3eval train needs accelerate: pip install 'm3eval[train]'.")
    from m3eval.training.run import Training
    from m3eval.training.start import opened

    cfg = setup.cfg
    training = Training(
        folder=Path(require_folder(cfg.output_dir, "output_dir")).expanduser()
        / "training"
        / cfg.name,
        objective=_built(cfg.objective),
        start=opened(cfg.start, cfg.revision),
        data=builder(cfg.data)(),
        settings=builder(cfg.trainer)(),
        runtime=settle(**cfg.runtime),
        seed=cfg.seed,
        configured={name: plain(cfg)[name] for name in ("objective", "data", "trainer", "seed")},
        overwrite=cfg.overwrite,
    )
    say(f"trained    {training()}")


def _built(node: DictConfig) -> Any:
    """What a node's `_target_` makes of its settings, of which some are dataclasses themselves."""
    partial = builder(node)
    kinds = hints(partial.func)
    inner = {
        name: kinds[name](**value)
        for name, value in partial.keywords.items()
        if dataclasses.is_dataclass(kinds.get(name))
    }
    return partial(**inner)
