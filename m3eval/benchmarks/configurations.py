"""What a data set of `datasets` has: configurations, their splits, and the files of each.

Its card (README.md) says so, or the folders that `save_to_disk` wrote; else the names of its files
do: `corpus.jsonl` and `corpus/test-00000-of-00002.parquet` are of the configuration corpus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from m3eval.benchmarks.formats import ending
from m3eval.errors import UserError
from m3eval.files import read_json
from m3eval.hub import PART

CARD = "README.md"
UNNAMED = ""  # the split of files whose names say none
QRELS = "-qrels"  # behind the name of a repository: that of its judgements; so of a configuration

Splits = dict[str, tuple[str, ...]]  # split -> globs of files, from the data set's folder on
Configurations = Mapping[str, Splits]


@dataclass(frozen=True)
class RetrievalParts:
    """The configurations that make one language of a retrieval set."""

    corpus: str
    queries: str
    qrels: str | None  # None: a repository of their own has the judgements


def configurations(folder: Path) -> Configurations:
    """The configurations of a data set that lies in a folder as a whole.

    Raises:
        UserError: what it says of itself cannot be read.
    """
    return _saved(folder) or of_card(folder) or _by_names(folder)


def of_card(folder: Path) -> Configurations:
    """The configurations that the card names; none where there is no card, or it names none.

    Raises:
        UserError: the card cannot be read, or names files that lie elsewhere.
    """
    from datasets.data_files import sanitize_patterns
    from datasets.utils.metadata import MetadataConfigs

    try:
        found = MetadataConfigs.from_dataset_card_data(_card(folder))
        return {
            name: {
                str(split): tuple(_inside(str(pattern), folder / CARD) for pattern in patterns)
                for split, patterns in sanitize_patterns(settings["data_files"]).items()
            }
            for name, settings in found.items()
            if settings.get("data_files")
        }
    except (ValueError, TypeError, AttributeError) as error:
        words = " ".join(str(error).split())[:200]
        raise UserError(f"{folder / CARD}: its configurations cannot be read ({words}).") from error


def languages_of_card(folder: Path) -> list[str]:
    """The languages that the card names, for messages."""
    named = _card(folder).get("language")
    return [str(each) for each in named] if isinstance(named, list) else [str(named)] * bool(named)


def parts(found: Configurations) -> dict[str, RetrievalParts]:
    """The retrieval sets among configurations, by what stands before their names.

    `corpus`, `queries` (or `query`) and `default` (or `qrels`) are one without a name;
    `ko-corpus`, `ko-queries` and `ko-qrels` (or `ko`) are ko.
    """
    sets = {}
    for name in found:
        label = name.removesuffix("corpus")
        if name == label or (label and not label.endswith("-")):
            continue
        queries = [label + each for each in ("queries", "query") if label + each in found]
        judged = [f"{label}qrels", label.removesuffix("-")] if label else ["default", "qrels"]
        if queries:
            qrels = next((each for each in judged if each in found), None)
            sets[label.removesuffix("-")] = RetrievalParts(name, queries[0], qrels)
    return sets


def of_split(found: Configurations, name: str, wanted: str, exactly: bool) -> tuple[str, ...]:
    """The files of a split of a configuration.

    Args:
        found: has the configuration.
        name: the configuration's.
        wanted: the split's.
        exactly: whether no other will do. Else a lone split is taken, too, and one that is called
            as the configuration is: queries of all splits may lie in one.

    Raises:
        UserError: there is no such split.
    """
    splits = found[name]
    for each in (wanted, UNNAMED, *((name, name.rpartition("-")[2]) if not exactly else ())):
        if each in splits:
            return splits[each]
    if len(splits) == 1 and not exactly:
        return next(iter(splits.values()))
    raise UserError(
        f"benchmark.split={wanted}: the configuration {name} has the splits {', '.join(splits)}: "
        "choose one of them."
    )


def _card(folder: Path) -> Any:
    """What stands at the head of the card, as `huggingface_hub` has it; nothing where none does."""
    from huggingface_hub import DatasetCardData, RepoCard
    from huggingface_hub.repocard import REGEX_YAML_BLOCK
    from yaml import YAMLError

    try:
        content = (folder / CARD).read_bytes().decode("utf-8-sig")
        if not REGEX_YAML_BLOCK.search(content):
            return DatasetCardData()
        return RepoCard(content, ignore_metadata_errors=True).data
    except FileNotFoundError:
        return DatasetCardData()
    except (ValueError, TypeError, YAMLError) as error:
        words = " ".join(str(error).split())[:200]
        raise UserError(f"{folder / CARD}: its head cannot be read ({words}).") from error


def _saved(folder: Path) -> Configurations:
    """What `save_to_disk` wrote: a folder for each configuration, or one whose splits they are."""
    found = {}
    for below in sorted(folder.glob("*/")):
        splits = {path.name: path for path in sorted(below.glob("*/")) if _is_saved(path)}
        if _is_saved(below):
            found[below.name] = {UNNAMED: _arrow_files(folder, below)}
        elif splits:
            found[below.name] = {each: _arrow_files(folder, at) for each, at in splits.items()}
    return found


def _is_saved(folder: Path) -> bool:
    return (folder / "state.json").exists()


def _arrow_files(folder: Path, saved: Path) -> tuple[str, ...]:
    """The files of one `Dataset`, from the folder on."""
    state = saved / "state.json"
    try:
        names = [str(each["filename"]) for each in read_json(state)["_data_files"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{state} is none of `save_to_disk`: save the data set again.") from error
    below = saved.relative_to(folder)
    return tuple(_inside(str(PurePosixPath(below) / name), state) for name in names)


def _by_names(folder: Path) -> Configurations:
    """A file of rows is a configuration; so is a folder of such, and its files are the splits."""
    found: dict[str, Splits] = {}
    for path in sorted(folder.glob("*")):
        if path.is_dir():
            splits: Splits = {}
            for file in sorted(path.glob("*")):
                if ending(file):
                    split = _stem(file)
                    splits[split] = (*splits.get(split, ()), f"{path.name}/{file.name}")
            if splits:
                found[path.name] = splits
        elif ending(path):
            known = found.setdefault(_stem(path), {}).get(UNNAMED, ())
            found[_stem(path)][UNNAMED] = (*known, path.name)
    return found


def _stem(path: Path) -> str:
    """A file's name without its ending and its number among parts."""
    part = PART.match(path.name)
    return part["name"] if part else path.name.removesuffix(ending(path) or "")


def _inside(pattern: str, said_by: Path) -> str:
    """The glob of files in a data set's folder. Raises UserError where it leads out of it."""
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or "://" in pattern:
        raise UserError(f"{said_by} names files that lie elsewhere, which are not read: {pattern}.")
    return str(path)
