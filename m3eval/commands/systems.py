"""Several systems on one benchmark: every stage for each of them, and one table that compares them all.

    python -m m3eval.systems benchmark=demo systems=[e5_small_q4/dense,e5_small_q4/bm25s,latent_sparse/sparse] languages=[en,sw]
    python -m m3eval.systems experiment=demo lineup=small

A system is an encoder with a retriever, as in m3eval.compare, whose settings and tables these are; what a retriever builds on
is searched too. What is finished already is found finished. `--help` lists the settings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from m3eval.commands import compare
from m3eval.config import CONFIG_DIR, Setup, check, compose, stage
from m3eval.console import say
from m3eval.errors import UserError
from m3eval.retrievers.retriever import find
from m3eval.stages import embed, evaluate, search


def run(setup: Setup, words: Sequence[str]) -> None:
    """Evaluate several systems on one benchmark

    Args:
        setup: the configuration of the comparison.
        words: of the command line, from which each encoder's own configuration is composed.

    Raises:
        UserError: a system is not an encoder with a retriever, or whatever a stage refuses.
    """
    wanted: dict[str, list[str]] = {}
    for system in compare.systems(setup):
        encoder, _, retriever = system.label.rpartition("/")
        if not encoder or "/" in encoder:
            raise UserError(
                f"systems: {system.label} is not ENCODER/RETRIEVER by their names under conf/."
            )
        wanted.setdefault(encoder, []).append(retriever)
    shared = [word for word in words if _key(word) not in ("encoder", "retriever")]
    own = {*compose(config="compare")} - {*compose()} | {
        "lineup"
    }  # what stages have no settings for, nor record
    staged = [word for word in shared if _key(word) not in own]
    # All of them before the first begins. The table is of the first encoder's lengths; others that differ are named.
    setups = [check(_composed(staged, encoder, names)) for encoder, names in wanted.items()]
    together = check(
        _composed(shared, next(iter(wanted)), itertools.chain(*wanted.values()), "compare")
    )
    for each in setups:
        say(f"\n== {each.encoder.label}")
        if any("stores" in find(node._target_).reads for node in each.cfg.retriever.values()):
            embed.run(each)
        search.run(each)
        evaluate.run(each)
    say("\n== all")
    compare.run(together)


def _composed(
    words: Sequence[str], encoder: str, retrievers: Iterable[str], config: str = "config"
) -> DictConfig:
    """What the words give for one encoder; those about a retriever that it is not asked for are others'."""
    names = with_inputs(retrievers)
    about = {word: _key(word).split(".") for word in words}
    fit = [word for word, way in about.items() if way[0] != "retriever" or way[1] in names]
    return compose(*fit, f"encoder={encoder}", f"retriever=[{','.join(names)}]", config=config)


def _key(word: str) -> str:
    """The setting or group that a word of the command line is about."""
    return word.lstrip("+~").partition("=")[0]


def with_inputs(retrievers: Iterable[str]) -> list[str]:
    """Retrievers after those that they build on, each once."""
    found: dict[str, None] = {}
    for name in retrievers:
        found |= dict.fromkeys(
            with_inputs(compose(f"retriever=[{name}]").retriever[name].get("inputs") or [])
        )
        found[name] = None
    return list(found)


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="systems")
def main(cfg: DictConfig) -> None:
    """Composes the configuration from conf/ and the command line, checks it, evaluates and compares."""
    words = list(HydraConfig.get().overrides.task)

    def evaluate_all(setup: Setup) -> None:
        """Evaluate several systems on one benchmark"""
        run(setup, words)

    stage(evaluate_all, cfg)


if __name__ == "__main__":
    main()
