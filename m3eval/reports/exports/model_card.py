"""Hugging Face's model-index: the scores of a model, as metadata at the head of its card."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from m3eval.errors import UserError
from m3eval.files import whole_file
from m3eval.reports.exports.source import Exported, metric_elsewhere


def write(source: Exported, out: Path) -> tuple[Path, list[str]]:
    """Writes model-card.md.

    Returns:
        its path, and the systems that it leaves out, for they are not the encoder's.

    Raises:
        UserError: no system of the result is.
    """
    systems = [system for system in source.systems if system.has_encoder]
    if not systems:
        raise UserError(
            f"{source.files.json}: a model card is about a model, and no system of this result "
            "has an encoder that m3eval ran."
        )
    results = [
        EvalResult(
            task_type="retrieval",
            dataset_type=source.repository or source.benchmark,
            dataset_name=f"{source.result.benchmark['label']} ({language})",
            dataset_config=language,
            dataset_split=source.split,
            dataset_revision=source.revision,
            metric_type=metric_elsewhere(metric),
            metric_name=f"{metric}, {system.retriever}",
            metric_value=score,
        )
        for system in systems
        for language, scores in source.scores(system)
        for metric, score in scores.items()
    ]
    card = ModelCardData(model_name=source.result.encoder_name, eval_results=results)
    path = out / "model-card.md"
    with whole_file(path) as part:
        part.write_text(f"---\n{card.to_yaml()}\n---\n", encoding="utf-8")
    return path, [system.label for system in source.systems if system not in systems]
