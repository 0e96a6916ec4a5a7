"""Where a checkpoint lies: a local folder, or a hub id that is downloaded once; and what its files hash to."""

from __future__ import annotations

from pathlib import Path

from m3eval import hub
from m3eval.errors import UserError
from m3eval.files import sha256

# Weights in other frameworks' formats and exported graphs are not read, so they are not downloaded.
FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin", "*_linear.pt", "artifact.metadata"]
IGNORED = ["onnx/*", "openvino/*"]


def locate(checkpoint: str, revision: str | None) -> Path:
    """The folder of a checkpoint.

    Args:
        checkpoint: a folder, or the id of a model on the hub.
        revision: commit, tag or branch on the hub; None for a folder or the main branch.

    Raises:
        UserError: there is no such folder and the hub cannot give it.
    """
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        return folder
    if checkpoint.startswith((".", "/", "~")):
        raise UserError(f"encoder.checkpoint={checkpoint} is not a folder.")
    return hub.download(files(checkpoint, revision), "encoder.checkpoint=/path/to/its/folder")


def files(checkpoint: str, revision: str | None) -> hub.Files:
    """What a checkpoint on the hub consists of."""
    return hub.Files(checkpoint, revision, FILES, "model", IGNORED)


def hashes(folder: Path, nested: bool = False) -> dict[str, str]:
    """SHA-256 of every file that decides what a checkpoint computes, by name; `nested`: of those in its folders too."""
    found = {path for pattern in FILES for path in (folder.rglob(pattern) if nested else folder.glob(pattern))}
    found = {path for path in found if not any(path.relative_to(folder).match(pattern) for pattern in IGNORED)}
    if any(path.suffix == ".safetensors" for path in found):
        found = {path for path in found if not path.match("pytorch_model*.bin")}  # safetensors win when both are there
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(found)}
