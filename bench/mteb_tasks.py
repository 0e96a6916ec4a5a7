"""Which of MTEB's retrieval tasks `benchmark=hub` reads: docs/mteb.md, from docs/mteb_tasks.tsv.

    python -m bench.mteb_tasks                 writes the page from the list
    python -m bench.mteb_tasks --from-mteb     makes the list anew first; needs mteb installed

mteb reads the data set of a task by a loader that all tasks share, or by code of the task's own.
The loader asks for the configurations that `benchmark=hub` looks for; what code of a task's own
reads has another layout, unless the list says that somebody looked and found the same.
"""

from __future__ import annotations

import argparse
import csv
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from bench.measure import ROOT, say
from m3eval.benchmarks.languages import code_of, is_language

LIST, PAGE = ROOT / "docs/mteb_tasks.tsv", ROOT / "docs/mteb.md"
# Read by another benchmark.
OURS = {
    "BelebeleRetrieval": "benchmark=belebele",
    "NarrativeQARetrieval": "benchmark=narrativeqa",
}
# Tasks with code of their own that asks for the same configurations as the loader.
ALIKE = ("MrTidyRetrieval",)
HEAD = """# MTEB's retrieval tasks

Made by `python -m bench.mteb_tasks` from [mteb_tasks.tsv](mteb_tasks.tsv), which lists the text
retrieval tasks of mteb {version}. [data.md](data.md) says what the words mean.

Of {all} tasks, {read} are read by `benchmark=hub`: {several} in several languages or parts, and
{one} in one. {own} are read in mteb by code of their own, which makes documents and queries of
tables of another layout: convert them into a folder first. {private} are not public.

This follows from the code of mteb; layouts are tested on miniatures, not on each data set. Where a
task has instructions, mteb adds one to each query; they are not read here. A language that is given
is for those parts whose names say none.
"""


@dataclass(frozen=True)
class MtebTask:
    """A row of the list."""

    name: str
    repository: str
    revision: str
    splits: str  # of which each is a result, separated by commas
    subsets: str  # what stands before `-corpus` in names of configurations; empty: nothing
    languages: str  # as ISO 639-3 and script
    layout: str  # shared: the loader's; own: of code of its own; private: not public

    @property
    def is_read(self) -> bool:
        """Whether `benchmark=hub` reads it."""
        return self.layout == "shared"

    @property
    def words(self) -> str:
        """What is said to read it."""
        words = [f"benchmark.repository={self.repository}"]
        splits = self.splits.split(",")
        if "test" not in splits:
            words.append(f"benchmark.split={splits[0]}")
        named = [each for each in self.subsets.split(",") if each]
        if not all(map(is_language, named or [""])):
            words.append(f"benchmark.language={self.first_language}")
        return " ".join(words)

    @property
    def first_language(self) -> str:
        """The first language that mteb says it has, by the code of two letters if it has one."""
        first = self.languages.partition(",")[0]
        return code_of(first) or first.partition("-")[0]


def read() -> list[MtebTask]:
    """The list."""
    with LIST.open(encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#"))
        return [MtebTask(**row) for row in csv.DictReader(lines, delimiter="\t")]


def version() -> str:
    """The version of mteb that the list is of."""
    with LIST.open(encoding="utf-8") as file:
        return file.readline().split()[-1]


def page(tasks: list[MtebTask]) -> str:
    """The page."""
    found = [task for task in tasks if task.is_read]
    several = [task for task in found if task.subsets]
    counts = {
        "all": len(tasks),
        "read": len(found),
        "several": len(several),
        "one": len(found) - len(several),
        "own": sum(task.layout == "own" for task in tasks),
        "private": sum(task.layout == "private" for task in tasks),
    }
    parts = [HEAD.format(version=version(), **counts)]
    for title, some in (
        ("In several languages or parts", several),
        ("In one", [task for task in found if not task.subsets]),
    ):
        parts.append(f"## {title}\n\n" + "\n".join(_table(some)) + "\n")
    ours = [f"{task.name}: `{OURS[task.name]}`" for task in tasks if task.name in OURS]
    parts.append("## Read by another benchmark\n\n" + "; ".join(ours) + ".\n")
    others = [task.name for task in tasks if task.layout == "own" and task.name not in OURS]
    parts.append(
        "## Read by code of their own in mteb, and not here\n\n"
        + textwrap.fill(", ".join(others) + ".", 100, break_on_hyphens=False)
        + "\n"
    )
    return "\n".join(parts)


def _table(tasks: list[MtebTask]) -> Iterator[str]:
    yield "| task | `m3eval run benchmark=hub` and | languages or parts | other splits |"
    yield "|---|---|---|---|"
    for task in sorted(tasks, key=lambda task: task.name.lower()):
        named = task.subsets.split(",") if task.subsets else task.languages.split(",")
        shown = ", ".join(named[:6]) + (f", ... ({len(named)})" if len(named) > 6 else "")
        splits = task.splits.split(",")
        taken = "test" if "test" in splits else splits[0]
        others = ", ".join(split for split in splits if split != taken)
        yield f"| {task.name} | `{task.words}` | {shown} | {others} |"


def listed() -> Iterator[MtebTask]:
    """The text retrieval tasks of the mteb that is installed."""
    import mteb
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    assert mteb.__version__

    def below(cls: Any) -> Iterator[Any]:
        for each in cls.__subclasses__():
            yield each
            yield from below(each)

    for cls in below(AbsTaskRetrieval):
        about = getattr(cls, "metadata", None)
        if about is None or about.type != "Retrieval" or about.modalities != ["text"]:
            continue
        own = [part for part in cls.__mro__ if part not in AbsTaskRetrieval.__mro__]
        changed = any({"load_data", "dataset_transform"} & {*vars(part)} for part in own)
        layout = "own" if changed and about.name not in ALIKE else "shared"
        several = isinstance(about.eval_langs, dict)
        languages = (
            [each for some in about.eval_langs.values() for each in some]
            if several
            else about.eval_langs
        )
        yield MtebTask(
            about.name,
            about.dataset["path"],
            about.dataset["revision"],
            ",".join(about.eval_splits),
            ",".join(about.eval_langs) if several else "",
            ",".join(dict.fromkeys(languages)),
            layout if about.is_public is not False else "private",
        )


def main() -> None:
    """Writes the page, and the list before it where that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from-mteb", action="store_true")
    if parser.parse_args().from_mteb:
        from importlib.metadata import version as installed

        tasks = {task.name: task for task in listed()}
        names = [field.name for field in fields(MtebTask)]
        with LIST.open("w", encoding="utf-8", newline="") as file:
            file.write(f"# text retrieval tasks of mteb {installed('mteb')}\n")
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(names)
            for _, task in sorted(tasks.items()):
                writer.writerow([getattr(task, name) for name in names])
        say(f"{len(tasks)} tasks in {LIST}")
    PAGE.write_text(page(read()), encoding="utf-8")
    say(f"{PAGE} is written")


if __name__ == "__main__":
    main()
