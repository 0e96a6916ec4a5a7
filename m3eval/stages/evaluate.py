"""Stage 2: runs -> scores and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from m3eval.benchmarks.judgements import belonging
from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import document_texts
from m3eval.comparable import Comparable, differences
from m3eval.config import Setup
from m3eval.config.tree import plain
from m3eval.console import say
from m3eval.errors import together
from m3eval.files import sweep
from m3eval.locks import held
from m3eval.manifests import EncoderIdentity, Provenance, RunManifest
from m3eval.metrics.answers import has_unspaced
from m3eval.metrics.chance import by_chance
from m3eval.metrics.judge import AnswerJudgements, DocumentJudgements, Judgements
from m3eval.metrics.judge import judge as judge_runs
from m3eval.metrics.names import Metric
from m3eval.metrics.ranking import Scores
from m3eval.provenance import engines, versions
from m3eval.reading import Reading, approximate, in_int8, made_elsewhere
from m3eval.reports import table_files, tracking
from m3eval.reports.distance import PublishedSystems
from m3eval.reports.table import ScoreTable
from m3eval.retrievers.finished import read_run
from m3eval.retrievers.retriever import reading
from m3eval.retrievers.run import Run
from m3eval.secrets import masked_tree
from m3eval.stages import standing, tracked
from m3eval.stages.texts import ReadTexts

CHANCE_IS_NOTHING = 100_000  # documents: of more, R@100 is below 0.1 of 100 points
Manifests = Mapping[tuple[str, str], RunManifest]  # by retriever and language


@dataclass(frozen=True)
class Evaluated:
    """What stage 2 scored: what was asked for, and what stood in the tables besides."""

    setup: Setup
    manifests: Manifests
    table: ScoreTable


def run(setup: Setup) -> Evaluated:
    """Stage 2: score the runs and write tables"""
    tracking.require(setup.cfg.report_to)
    files = setup.layout.scores
    with held(files.lock, f"The result {files.folder}", "m3eval evaluate"):
        sweep(files.folder)
        return evaluate(setup)


def evaluate(setup: Setup) -> Evaluated:
    """Scores what is asked for and what stands in the tables, and writes these anew."""
    say(f"benchmark  {setup.heading.said()}, languages {', '.join(setup.languages)}")
    together([lambda task=task: judgements(setup, task) for task in setup.tasks])
    scope = standing.scope(setup)
    if scope.kept:
        cells = ", ".join(map(" ".join, scope.kept))
        say(f"  scored too, for they stand in the tables: {cells}")
    for why in scope.left_out:
        say(f"  left out of the tables: {why}")
    setup, manifests = scope.setup, scope.manifests
    names, languages = (list(dict.fromkeys(cell[i] for cell in manifests)) for i in (0, 1))
    by_language = {task.language: score(setup, task, manifests) for task in setup.tasks}
    per_query = {(name, language): by_language[language][name] for name, language in manifests}
    origin = provenance(setup, list(manifests.values()))
    readings = {
        name: reading(manifest, setup.reading, setup.recorded_retriever)
        for (name, _), manifest in manifests.items()
    }
    whole_texts = tuple(
        name for name, reads in readings.items() if reads.whole_texts in ("yes", "partly")
    )
    known = [reads for reads in readings.values() if reads.whole_texts != "unknown"]
    score_table = ScoreTable(
        heading=setup.heading,
        # No encoder: every retriever reads whole texts, or nobody knows what it reads.
        reading=setup.reading if origin.encoder else next(iter([*known, *readings.values()])),
        encoder=label(setup, origin, known),
        metrics=[str(metric) for metric in setup.metrics],
        languages=languages,
        retrievers=names,
        per_query=per_query,
        provenance=origin,
        published=published(setup, manifests),
        groups={task.language: task.groups for task in setup.tasks},
        chance=chance(setup, manifests),
        whole_texts=whole_texts if origin.encoder else (),
        approximate=approximate(manifests),
        notes=(*notes(setup), *in_int8(manifests), *made_elsewhere(manifests)),
    )
    written = table_files.write(score_table, setup.layout.scores)
    table_files.show(score_table)
    for path in written:
        say(f"  written  {path}")
    tracked.report(setup, score_table)
    return Evaluated(setup, manifests, score_table)


def label(setup: Setup, origin: Provenance, known: Sequence[Reading]) -> str:
    """What tables call the encoder, or what they say where no run has one.

    Args:
        setup: the configuration.
        origin: what the runs rest on.
        known: what those read that m3eval made.
    """
    if origin.encoder:
        return setup.cfg.encoder.label
    return "no encoder" if known else "made elsewhere"


def score(setup: Setup, task: Task, manifests: Manifests) -> dict[str, Scores]:
    """The scores of every judged query, by retriever, of the runs that are there."""
    qids = [query.qid for query in task.queries]
    names = [name for name, language in manifests if language == task.language]
    runs = ((name, read_run(setup.layout.run(name, task.language), qids)) for name in names)
    return judge(setup, task, runs)


def judge(
    setup: Setup,
    task: Task,
    runs: Iterable[tuple[str, Run]],
    metrics: Sequence[Metric] | None = None,
) -> dict[str, Scores]:
    """The scores of every judged query, by the name of its run: see `metrics.judge`.

    Args:
        setup: the configuration.
        task: has the judgements.
        runs: name and run; a run is read when its turn comes.
        metrics: what to measure; None: all that are configured.

    Raises:
        UserError: the judgements allow no such metric.
    """
    names: list[str] = []

    def in_turn() -> Iterator[Run]:
        for name, run in runs:
            names.append(name)
            yield run

    scores = judge_runs(in_turn(), judgements(setup, task), metrics or setup.metrics)
    return dict(zip(names, scores, strict=True))


def judgements(setup: Setup, task: Task) -> Judgements:
    """What a language's runs are judged by.

    Raises:
        UserError: they do not belong to its queries and documents.
    """
    belonging(task, setup.once(ReadTexts).corpus(task))
    if task.qrels is not None:
        return DocumentJudgements(task.qrels)
    documents = document_texts(task.corpus, setup.rules)
    return AnswerJudgements(task.answers or {}, documents.read, task.denominator, task.matching)


def notes(setup: Setup) -> list[str]:
    """What a reader must know of how the scores came about, a sentence each."""
    said: list[str] = []
    for task in setup.tasks:
        said += belonging(task, setup.once(ReadTexts).corpus(task))
        said += filter(None, [matching_note(task)])
    return said


def matching_note(task: Task) -> str | None:
    """What must be said of how answers are found; None where DPR's tokens find them all."""
    answers = (string for strings in (task.answers or {}).values() for string in strings)
    if task.matching == "tokens" or not has_unspaced(answers):
        return None
    return (
        f"{task.language}: answers in a script without spaces between words are found character by "
        "character, wherever they stand in a document"
    )


def chance(setup: Setup, manifests: Manifests) -> dict[str, Scores]:
    """By language, what a random order of the documents scores: see `metrics.chance`.

    Empty where answers judge, for it is not known how many documents have one, and where a corpus
    is so large that chance is nothing.
    """
    documents_of = {language: manifest.documents for (_, language), manifest in manifests.items()}
    counts = {language: documents.count or 0 for language, documents in documents_of.items()}
    if any(task.qrels is None or counts[task.language] > CHANCE_IS_NOTHING for task in setup.tasks):
        return {}
    return {
        task.language: by_chance(task.qrels or {}, counts[task.language], setup.metrics)
        for task in setup.tasks
    }


def provenance(setup: Setup, manifests: Sequence[RunManifest]) -> Provenance:
    """Everything the numbers rest on: configuration, versions, encoder, texts and stores.

    Runs that no encoder decides (BM25) stand beside those of any one encoder.

    Raises:
        UserError: the runs were made by different encoders, which one table must not mix.
    """
    config: Any = OmegaConf.to_container(setup.cfg, resolve=True)
    return Provenance(
        config=masked_tree(config),
        encoder=one_encoder(setup, manifests),
        texts={name: texts for run in manifests for name, texts in run.texts.items()},
        stores={name: sha256 for run in manifests for name, sha256 in run.stores.items()},
        commits={name: commit for run in manifests for name, commit in run.commits.items()},
        runs_made_with=sorted({run.m3eval for run in manifests}),
        evaluated_with=versions(setup.runtime) | engines(),
    )


def one_encoder(setup: Setup, manifests: Sequence[RunManifest]) -> EncoderIdentity | None:
    """The encoder of all runs that have one. Raises UserError where they have several."""
    encoders = [manifest.encoder for manifest in manifests if manifest.encoder]
    for other in encoders:
        Comparable.by(differences(encoders[0], other)).require(
            f"The runs in {setup.layout.runs} come from different encoders",
            "Run `m3eval search` again.",
        )
    return encoders[0] if encoders else None


def published(setup: Setup, manifests: Manifests) -> PublishedSystems | None:
    """The published systems that the runs stand for.

    None where benchmark or encoder name nothing that is published.
    """
    benchmark = setup.cfg.benchmark.get("reference")
    encoder = setup.cfg.encoder.get("reference")
    systems = published_systems(setup)
    if not benchmark or not systems:
        return None
    partial = {}
    for task in setup.tasks:
        remark = setup.once(ReadTexts).unlike_published(task, subset=True)
        if remark or (setup.cfg.benchmark.subset and task.corpus.published is None):
            partial[task.language] = "a subset"
    # Only the paper's withdrawn first versions dropped them, and their numbers are not what
    # Table 1 holds now.
    own_documents = "exclude_self is true, published with false"
    return PublishedSystems(
        benchmark=benchmark,
        systems=systems,
        tolerance=setup.cfg.tolerance,
        manifests=manifests,
        files=encoder.files if encoder else None,
        general=[own_documents] if setup.retrieval.exclude_self else [],
        partial=partial,
    )


def published_systems(setup: Setup) -> dict[str, str]:
    """Retriever -> the published system that it stands for.

    What an encoder says goes before what a retriever over words says of itself.
    """
    encoder = setup.cfg.encoder.get("reference")
    said = {str(name): node.get("reference") for name, node in setup.cfg.retriever.items()}
    if encoder:
        said |= plain(encoder)["systems"]
    return {name: system for name, system in said.items() if system}
