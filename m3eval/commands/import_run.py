"""A run that others made, beside ours: a system of a benchmark that m3eval did not search with.

Its file becomes a run of stage 1 and is scored by stage 2, so that everything that reads runs and
results reads it, too. Tables say that it was made elsewhere.
"""

from __future__ import annotations

import shlex

from m3eval.config import Setup, check, compose, imported, tree
from m3eval.console import say
from m3eval.errors import UserError
from m3eval.quoting import literal
from m3eval.stages import evaluate, search


def run(setup: Setup) -> None:
    """Imports the file and scores it.

    Args:
        setup: names the benchmark, the file and its name, and has the words that did.

    Raises:
        UserError: the name is no name or one of m3eval's own; retrievers are chosen; or the file
            is not a run of this benchmark: see `retrievers.imported.search`.
    """
    words = words_for(setup)
    stages = check(compose(*words))
    say("\n== search")
    search.run(stages)
    say("\n== evaluate")
    evaluate.run(stages)
    foreign = shlex.join(word for word in words if word.startswith(f"+retriever.{setup.cfg.name}."))
    say(f"m3eval compare knows it by its name; to run, gate and systems say {foreign}")


def words_for(setup: Setup) -> list[str]:
    """The words that make the three stages read the file.

    Raises:
        UserError: see `run`.
    """
    cfg = setup.cfg
    if not imported.is_fit(cfg.name):
        raise UserError(
            f"name={cfg.name}: takes letters without accents, digits, _ and -, with a letter first."
        )
    if chosen := [name for name in cfg.retriever if name != cfg.name]:
        raise UserError(
            f"retriever: {', '.join(map(str, chosen))}: m3eval import-run searches with none; "
            "leave it out."
        )
    own = {*tree.own_settings("import_run"), "retriever"}
    words = [word for word in setup.words if word.lstrip("+~").partition("=")[0] not in own]
    if len(cfg.run) > 1:
        raise UserError(
            f"run={literal(list(cfg.run))}: takes one file; where there is one a language, "
            "{language} in its name stands for the language."
        )
    if cfg.name in tree.choices("retriever"):
        raise UserError(imported.taken(cfg.name))
    node = {"_target_": imported.TARGET, "file": cfg.run[0]}
    node |= {"subset": cfg.subset, "split": cfg.split}
    return [*words, "retriever=[]", *imported.words({cfg.name: node}, ())]
