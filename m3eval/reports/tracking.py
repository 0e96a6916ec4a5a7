"""Scores of stage 2 in the tracker that a group already has: `report_to=[tensorboard]`.

Each tracker gets scalars METRIC/RETRIEVER/LANGUAGE x 100, costs as cost/KIND/RETRIEVER, and the
configuration as it was recorded, secrets masked. None of them is needed by m3eval or comes with it.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from m3eval.errors import UserError

Tracker = Literal["tensorboard", "wandb", "mlflow"]


@dataclass(frozen=True)
class Tracked:
    """What a tracker is told of one result."""

    project: str  # of all results: m3eval
    name: str  # BENCHMARK/ENCODER
    scalars: Mapping[str, float]  # name -> value
    config: Mapping[str, Any]  # the whole configuration, resolved
    folder: Path  # where trackers that write files write them


def require(trackers: Collection[Tracker]) -> None:
    """Raises UserError where a tracker's package is not installed; before anything is computed."""
    for tracker in trackers:
        _package(tracker)


def report(trackers: Collection[Tracker], tracked: Tracked) -> None:
    """Tells each tracker.

    Raises:
        UserError: a package is not installed, or a tracker refused.
    """
    for tracker in trackers:
        package = _package(tracker)
        try:
            REPORTERS[tracker](package, tracked)
        except Exception as error:  # each has kinds of its own: no network, not logged in
            raise UserError(
                f"report_to=[{tracker}]: {tracker} refused the scores ({type(error).__name__}: "
                f"{error}). The tables are written all the same."
            ) from error


def _package(tracker: Tracker) -> ModuleType:
    """The module that speaks to a tracker."""
    # torch's own writer needs the package too, and imports it.
    name = "torch.utils.tensorboard" if tracker == "tensorboard" else tracker
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"report_to=[{tracker}] needs a package: pip install {tracker}.") from error


def _tensorboard(package: ModuleType, tracked: Tracked) -> None:
    """One step in event files: `tensorboard --logdir OUTPUT_DIR` finds them."""
    writer = package.SummaryWriter(log_dir=str(tracked.folder / "tensorboard"))
    try:
        for name, value in tracked.scalars.items():
            writer.add_scalar(name, value, 0)
        text = json.dumps(tracked.config, indent=1, ensure_ascii=False, default=str)
        # Indented by four, Markdown shows it as it is.
        writer.add_text("configuration", "".join(f"    {line}\n" for line in text.splitlines()), 0)
    finally:
        writer.close()


def _wandb(package: ModuleType, tracked: Tracked) -> None:
    run = package.init(
        project=tracked.project,
        name=tracked.name,
        config=dict(tracked.config),
        dir=str(tracked.folder),
    )
    try:
        run.log(dict(tracked.scalars))
    finally:
        run.finish()


def _mlflow(package: ModuleType, tracked: Tracked) -> None:
    """Its names have no @, so nDCG@10 is nDCG_at_10 there."""
    package.set_experiment(tracked.project)
    with package.start_run(run_name=tracked.name):
        package.log_dict(dict(tracked.config), "configuration.json")
        package.log_metrics(
            {name.replace("@", "_at_"): value for name, value in tracked.scalars.items()}
        )


REPORTERS = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
