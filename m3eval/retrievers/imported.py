"""A run that others made, as a system of a benchmark: read from its file instead of searched.

`+retriever.NAME.file=FILE` configures one, and `m3eval import-run` gives that word. What stands in
its record is the file, as it was given, and its SHA-256; how it was made nobody here knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from m3eval.console import say
from m3eval.errors import UserError
from m3eval.files import regular, sha256
from m3eval.kinds import Count
from m3eval.manifests import ForeignFile
from m3eval.oserrors import pass_on
from m3eval.retrievers.foreign import load_run
from m3eval.retrievers.retriever import Settings, retriever
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources

SHOWN = 3  # ids that an error names


def of_language(text: str, language: str) -> str:
    """A setting for one language: `{language}` in it stands for the language."""
    return text.replace("{language}", language)


def file_of(settings: Settings, language: str) -> ForeignFile:
    """The file that these settings name for a language.

    Raises:
        UserError: it is missing or cannot be read.
    """
    name = of_language(settings["file"], language)
    path = Path(name).expanduser()
    try:
        return ForeignFile(name, sha256(regular(path)))
    except OSError as error:
        pass_on(error)
        raise UserError(
            f"{language}: the run {path} cannot be read: {error.strerror or error}. "
            "Where files are one a language, {language} in the name stands for it."
        ) from error


@retriever("a run that was made elsewhere", "texts", foreign=file_of)
def search(sources: Sources, file: str, subset: str | None, split: str | None, depth: Count) -> Run:
    """The lists of a file, for the queries of the benchmark.

    Args:
        sources: the texts: queries and documents of the run must be among them.
        file: see `foreign.load_run`; `{language}` in it stands for the language.
        subset: of mteb's predictions, where there are several; with `{language}` likewise.
        split: of mteb's predictions, where there are several.
        depth: documents that a query keeps.

    Raises:
        UserError: the file is no run; no judged query of the benchmark is in it; or a document of
            it is not in the corpus.
    """
    language = sources.language
    path = Path(of_language(file, language)).expanduser()
    found = load_run(path, subset and of_language(subset, language), split)
    qids = [qid for qid, _ in sources.query_texts.read()]
    for remark in _of_queries(path, found, qids, sources.judged):
        say(f"  {language}: {remark}")
    run = {qid: found[qid] for qid in qids if qid in found}
    _require_documents(path, run, sources)
    deepest = max(len(ranking.docids) for ranking in run.values())
    if deepest > depth:
        say(f"  {language}: {path} has lists of up to {deepest:,} documents, cut at {depth:,}")
    return {qid: run[qid].head(depth) for qid in run}


def _of_queries(
    path: Path, found: Run, qids: Collection[str], judged: Collection[str]
) -> Iterator[str]:
    """What a reader must know of how a run and the benchmark's queries go together.

    Raises:
        UserError: the run has none of the judged queries.
    """
    asked = {*qids}
    counting = [qid for qid in judged if qid in asked]
    lacking = [qid for qid in counting if qid not in found]
    others = [qid for qid in found if qid not in asked]
    if len(lacking) == len(counting):
        raise UserError(
            f"{path}: not one of the benchmark's {len(counting):,} judged queries is in the run: "
            f"an id of the benchmark is {counting[0]!r}, one in the run {next(iter(found))!r}. "
            "They do not belong together, or their ids are written differently."
        )
    if lacking:
        yield (
            f"{len(lacking):,} of {len(counting):,} judged queries are not in {path} and score 0, "
            f"for example {lacking[0]}"
        )
    if others:
        yield (
            f"{len(others):,} of {len(found):,} queries in {path} are not the benchmark's and are "
            f"left out, for example {others[0]}"
        )


def _require_documents(path: Path, run: Run, sources: Sources) -> None:
    """Raises UserError where a document is not in the corpus, which is read as far as needed."""
    unknown = {docid for ranking in run.values() for docid in ranking.docids}
    number, first = len(unknown), ""
    for docid, _ in sources.document_texts.read():
        if not unknown:
            return
        first = first or docid
        unknown.discard(docid)
    if unknown:
        examples = ", ".join(map(repr, sorted(unknown)[:SHOWN]))
        raise UserError(
            f"{path}: {len(unknown):,} of {number:,} documents of the run are not in the corpus "
            f"{sources.document_texts.name}, for example {examples}; an id in the corpus is "
            f"{first!r}. The run is of another corpus, or its ids are written differently."
        )
