"""What is exported: a result, and what its systems and languages are called elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from m3eval.errors import UserError
from m3eval.files import digest
from m3eval.layout import Layout, ScoreFiles
from m3eval.lazy import pandas as pd
from m3eval.metrics.names import parse
from m3eval.reference.published import AVERAGE
from m3eval.reports.results import REMEDY, read_per_query, read_scores
from m3eval.reports.site.results import SiteResult

# Canonical measure -> MTEB's and the hub's name of it.
OF_MTEB = {
    "nDCG": "ndcg",
    "R": "recall",
    "P": "precision",
    "AP": "map",
    "RR": "mrr",
    "Success": "hit_rate",
}


class ExportedSystem(NamedTuple):
    """A system of a result."""

    label: str  # ENCODER/RETRIEVER, or the retriever alone where no encoder takes part
    retriever: str
    has_encoder: bool
    elsewhere: bool  # its runs, or some that it builds on, were made elsewhere


@dataclass(frozen=True)
class Exported:
    """A result that is exported."""

    files: ScoreFiles
    result: SiteResult

    @property
    def benchmark(self) -> str:
        """The benchmark's name."""
        return self.result.benchmark["name"]

    @property
    def split(self) -> str:
        """The split of its queries."""
        return self.result.benchmark["split"]

    @property
    def repository(self) -> str | None:
        """The one repository of the hub that the texts are of; None where it is not one."""
        commits = self.result.content.provenance.commits
        return next(iter(commits)) if len(commits) == 1 else None

    @property
    def revision(self) -> str:
        """The commit of that repository; else a digest of the hashes of all texts."""
        commits = self.result.content.provenance.commits
        known = commits.get(self.repository or "")
        texts = self.result.content.provenance.texts
        hashes = {name: each.sha256 or each.sum for name, each in texts.items()}
        return known or f"sha256-{digest(hashes)[:32]}"

    @property
    def systems(self) -> list[ExportedSystem]:
        """The systems, in the order of the tables."""
        systems = []
        for name in self.result.retrievers:
            whole = self.result.reading(name).whole_texts
            foreign = self.result.is_foreign(name)
            has_encoder = whole != "yes" and not foreign
            label = f"{self.result.encoder_name}/{name}" if has_encoder else name
            systems.append(ExportedSystem(label, name, has_encoder, foreign))
        return systems

    @property
    def languages(self) -> list[str]:
        """The languages that have a score."""
        return list(self.result.content.judged_queries)

    def scores(self, system: ExportedSystem) -> Iterator[tuple[str, dict[str, float]]]:
        """Language -> metric -> score in [0, 1], of the languages that a system has."""
        for language in self.languages:
            of_language = {}
            for metric, by_retriever in self.result.content.scores.items():
                score = by_retriever.get(system.retriever, {}).get(language)
                if score is not None:
                    of_language[metric] = round(score / 100, 6)
            if of_language:
                yield language, of_language

    @property
    def layout(self) -> Layout:
        """Where the runs lie that were scored.

        Raises:
            UserError: there are none beside this result.
        """
        layout = Layout(self.files.folder.parent)
        if self.files.folder.name != "scores" or not layout.runs.is_dir():
            raise UserError(
                f"{self.files.folder} has no runs beside it: give outputs/BENCHMARK/ENCODER."
            )
        return layout


def locate(path: Path) -> Exported:
    """The result at a path.

    Args:
        path: a folder of results, its scores.json, or outputs/BENCHMARK/ENCODER.

    Raises:
        UserError: there is none, or it is not as it was written.
    """
    places = [ScoreFiles(path), Layout(path).scores]
    if path.name == "scores.json" and path.is_file():
        places = [ScoreFiles(path.parent)]
    for files in places:
        if files.json.exists():
            content = read_scores(files.json)
            if not any(content.scores.values()):
                raise UserError(f"{files.json} has no scores to export. {REMEDY}")
            return Exported(files, SiteResult(files.folder, content))
    raise UserError(
        f"{path} has no result: give a folder with a scores.json, that file, or a folder "
        "outputs/BENCHMARK/ENCODER that `m3eval evaluate` scored."
    )


def metric_elsewhere(name: str) -> str:
    """What MTEB and the hub call a metric: nDCG@10 is ndcg_at_10."""
    metric = parse(name)
    measure = OF_MTEB[metric.measure]
    return measure if metric.cutoff is None else f"{measure}_at_{metric.cutoff}"


def per_query(source: Exported) -> pd.DataFrame:
    """The scores of single queries, a row each.

    Returns:
        columns benchmark, split, language, system, metric, qid, score (in [0, 1]) and
        made_elsewhere.

    Raises:
        UserError: `per_query.csv` does not lie beside the result, or is not as it was written.
    """
    path, content = source.files.per_query, source.result.content
    wide = read_per_query(source.files, content)
    if wide is None:
        raise UserError(
            f"{path} does not exist: scores of single queries lie where `m3eval evaluate` wrote "
            "them, in outputs/BENCHMARK/ENCODER/scores."
        )
    systems = {system.retriever: system for system in source.systems}
    metrics = [metric for metric in content.scores if metric in wide]
    if not {*wide["retriever"]} <= systems.keys() or len(metrics) < len(content.scores):
        raise UserError(f"{path} is not of the result beside it. {REMEDY}")
    tidy = wide.melt(["retriever", "language", "qid"], metrics, "metric", "score")
    tidy = tidy.dropna(subset="score")
    tidy["benchmark"], tidy["split"] = source.benchmark, source.split
    tidy["system"] = tidy["retriever"].map({name: of.label for name, of in systems.items()})
    foreign = {name: of.elsewhere for name, of in systems.items()}
    tidy["made_elsewhere"] = tidy["retriever"].map(foreign).astype(bool)
    columns = ["benchmark", "split", "language", "system", "metric", "qid", "score"]
    return tidy[[*columns, "made_elsewhere"]].reset_index(drop=True)


def cells(source: Exported) -> list[tuple[ExportedSystem, str]]:
    """The systems and languages that have a score, the average aside."""
    return [
        (system, language)
        for system in source.systems
        for language, _ in source.scores(system)
        if language != AVERAGE
    ]
