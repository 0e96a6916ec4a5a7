"""The choices there are, each with the sentence at the head of its file."""

from __future__ import annotations

from m3eval.config import Setup, tree
from m3eval.config.words import nearest
from m3eval.console import say
from m3eval.errors import UserError

GROUPS = ("encoder", "benchmark", "retriever", "experiment", "lineup")


def run(setup: Setup) -> None:
    """Lists the choices of a group.

    Raises:
        UserError: there is no such group.
    """
    wanted = str(setup.cfg.group)
    group = wanted.removesuffix("s")
    if group not in GROUPS:
        near = nearest(wanted, [f"{name}s" for name in GROUPS])
        meant = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"m3eval list {wanted}: {meant}Choose among {', '.join(f'{name}s' for name in GROUPS)}."
        )
    names = tree.choices(group)
    width = max(map(len, names))
    for name in names:
        say(f"{name:{width}}  {tree.description(group, name)}")
