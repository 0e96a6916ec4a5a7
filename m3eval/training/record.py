"""What a training was made of. It stands beside the checkpoint, and decides what may go on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m3eval import records
from m3eval.errors import UserError
from m3eval.files import sha256, write_json

FILE = "training.json"
# Settings that decide nothing of the result.
FREE = ("keep", "log_every", "report_to", "save_every")


@dataclass(frozen=True)
class TrainingRecord:
    """Written before the first step."""

    settings: dict[str, Any]  # objective, data, trainer and seed, as configured
    data: dict[str, str]  # SHA-256 of every file, by its path
    start: dict[str, str]  # SHA-256 of the start's files, by name
    processes: int
    made_with: dict[str, str]  # versions and device


def begin(folder: Path, record: TrainingRecord) -> bool:
    """Puts the record down, or compares it with the one that is there.

    Returns:
        Whether a training with the same settings was begun there before.

    Raises:
        UserError: another training was.
    """
    path = folder / FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, records.plain(record))
        return False
    before = records.read(path, TrainingRecord)
    ours, theirs = _deciding(record), _deciding(before)
    different = sorted(
        key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)
    )
    if different:
        shown = "; ".join(
            f"{key}: {theirs.get(key)} there, {ours.get(key)} now" for key in different[:4]
        )
        raise UserError(
            f"{folder} holds a training that was begun otherwise ({shown}): give this one another "
            "name=, or begin anew with overwrite=true."
        )
    return True


def hashed(files: list[Path]) -> dict[str, str]:
    """SHA-256 of files by path."""
    return {str(path): sha256(path) for path in files}


def _deciding(record: TrainingRecord) -> dict[str, Any]:
    flat: dict[str, Any] = {"processes": record.processes}

    def walk(node: Any, where: str) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                if not (where == "trainer" and key in FREE):
                    walk(value, f"{where}.{key}" if where else str(key))
        else:
            flat[where] = node

    walk(record.settings, "")
    flat |= {f"data {i}": digest for i, digest in enumerate(record.data.values())}
    return flat | {f"start {name}": digest for name, digest in record.start.items()}
