"""Results and runs as other tools read them: mteb, the hub's model cards, ranx, pandas, LaTeX.

What is read was sealed when it was written, so no edited number leaves under m3eval's name.
"""

from __future__ import annotations

from pathlib import Path

from m3eval.buckets import place
from m3eval.commands.recorded import configuration
from m3eval.config import Setup
from m3eval.console import say
from m3eval.errors import UserError, together
from m3eval.files import write_json
from m3eval.reports.exports import model_card, mteb, tables
from m3eval.reports.exports.source import Exported, cells, locate
from m3eval.retrievers.finished import manifest_of, read_run
from m3eval.stages.trust import of_configured_texts


def run(setup: Setup) -> None:
    """Writes a result in a format, and says where.

    Raises:
        UserError: there is no result, it was edited, or the format needs what is not beside it.
    """
    cfg = setup.cfg
    out = Path(cfg.out).expanduser()
    if cfg.task is not None and cfg.format != "mteb":
        raise UserError(f"task={cfg.task}: only the format mteb has a task; leave it out.")
    source = locate(place(cfg.path))
    for path in write(source, cfg.format, out, cfg.task):
        say(f"  written  {path}")
    if foreign := [system.label for system in source.systems if system.elsewhere]:
        say(f"made elsewhere, not by m3eval: {', '.join(foreign)}")


def write(source: Exported, form: str, out: Path, task: str | None = None) -> list[Path]:
    """Writes a result in a format; returns the paths."""
    if form == "mteb":
        return mteb.write(source, out, task)
    if form == "model-card":
        path, left_out = model_card.write(source, out)
        if left_out:
            say(f"left out, for a card is about an encoder: {', '.join(left_out)}")
        return [path]
    if form == "ranx":
        return ranx(source, out)
    table = {"parquet": tables.parquet, "csv": tables.csv, "latex": tables.tex}[form]
    return [table(source, out)]


def ranx(source: Exported, out: Path) -> list[Path]:
    """Writes {language}/qrels.json and {language}/SYSTEM.json, as ranx's `from_file` reads them.

    A query for which a run found nothing has no entry there: ranx's `make_comparable` scores it.

    Raises:
        UserError: there are no runs, they were changed, or no document is judged.
    """
    layout = source.layout
    setup = configuration(source.files.json)
    asked = {language for _, language in cells(source)}
    tasks = {
        task.language: task
        for task in together(
            [lambda language=language: setup.benchmark.task(language) for language in asked]
        )
    }
    if lacking := [language for language, task in tasks.items() if task.qrels is None]:
        raise UserError(
            f"{', '.join(sorted(lacking))}: answers are judged and not documents, so there are no "
            "judgements that ranx could read."
        )
    for system, language in cells(source):
        files = layout.run(system.retriever, language)
        of_configured_texts(setup, tasks[language], manifest_of(files)).require(
            f"The run {files.trec} is of other texts than configured"
        )
    written = []
    for language, task in tasks.items():
        qrels = {qid: dict(grades) for qid, grades in (task.qrels or {}).items()}
        written.append(out / language / "qrels.json")
        write_json(written[-1], qrels)
    for system, language in cells(source):
        run = read_run(layout.run(system.retriever, language), None)
        lists = {
            qid: dict(zip(ranking.docids, ranking.scores.tolist(), strict=True))
            for qid, ranking in run.items()
            if ranking.docids
        }
        written.append(out / language / f"{system.label.replace('/', '__')}.json")
        write_json(written[-1], lists)
    return written
