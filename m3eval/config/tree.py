"""Where the configuration's files lie, which choices they offer, and what each is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from m3eval.config.imported import TARGET as IMPORTED
from m3eval.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel carries the tree inside the package; in a checkout it lies beside it.
CONFIG_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"

TARGET = re.compile(r"^\s*_target_:\s*[\"']?([\w.]+)", re.MULTILINE)

# The tree's folders. The first that has a file of some name wins.
_folders: list[Path] = [CONFIG_DIR]


@contextmanager
def added(folder: str | None) -> Iterator[None]:
    """Also looks for choices in a folder of the user's (`--config-dir`), while the block runs.

    Raises:
        UserError: there is no such folder.
    """
    if folder is None:
        yield
        return
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise UserError(f"--config-dir {folder}: there is no such folder.")
    _folders.append(path)
    try:
        yield
    finally:
        _folders.remove(path)


def private_folders() -> list[Path]:
    """The folders that the user added."""
    return _folders[1:]


def choices(group: str) -> list[str]:
    """The names that `group=` accepts, in alphabetical order."""
    return sorted({path.stem for folder in _folders for path in (folder / group).glob("*.yaml")})


def path_of(name: str) -> Path:
    """The file of a configuration (compare) or of a choice (encoder/bge_m3)."""
    return next(path for folder in _folders if (path := folder / f"{name}.yaml").is_file())


def targets() -> set[str]:
    """What may be built: every `_target_` in the tree's files, the user's own files included.

    Imported runs have no file of their own: words configure them.
    """
    texts = (
        path.read_text(encoding="utf-8") for folder in _folders for path in folder.rglob("*.yaml")
    )
    return {IMPORTED, *(target for text in texts for target in TARGET.findall(text))}


def description(group: str, choice: str) -> str:
    """What a choice is: the first comment of its file, Hydra's `# @package` aside."""
    with path_of(f"{group}/{choice}").open(encoding="utf-8") as file:
        for line in file:
            if not line.startswith("# @package"):
                return line[1:].strip() if line.startswith("#") else ""
    return ""


def own_settings(config: str) -> list[str]:
    """The settings that a configuration states itself, and not what it builds on."""
    content = yaml.safe_load(path_of(config).read_text(encoding="utf-8"))
    return [key for key in content if key != "defaults"]


def plain(cfg: DictConfig, resolve: bool = True) -> dict[str, Any]:
    """A configuration, or a part of one, as plain dictionaries and lists.

    Args:
        cfg: the configuration.
        resolve: whether references to other settings are replaced by their values.
    """
    content = OmegaConf.to_container(cfg, resolve=resolve)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def owners(setting: str) -> list[str]:
    """The configurations that have a setting, or choose of a group, as config has not."""
    names = sorted(path.stem for path in CONFIG_DIR.glob("*.yaml") if path.stem != "config")
    common = groups("config")
    return [
        name
        for name in names
        if setting in own_settings(name) or setting in {*groups(name)} - {*common}
    ]


def groups(config: str) -> list[str]:
    """The groups among which a configuration chooses, as its defaults list them."""
    content = yaml.safe_load(path_of(config).read_text(encoding="utf-8")) or {}
    names: list[str] = []
    for entry in content.get("defaults", []):
        if isinstance(entry, dict):
            names += [key.removeprefix("override ").removeprefix("/") for key in entry]
        elif entry != "_self_":
            names += groups(entry)
    return list(dict.fromkeys(names))
