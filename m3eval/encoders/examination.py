"""Is a folder the checkpoint that it says it is? Looked at by its files, before anything is loaded.

Libraries make the best of what they find: a tokeniser of five tokens where there is none, the base
model where an adapter lies, random layers for a pointer. Here each is refused by name. No weights
are read: what a file must hold stands in its first bytes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m3eval.encoders.checkpoint import FILES, WEIGHTS, is_ignored
from m3eval.errors import UserError
from m3eval.files import read_json, regular
from m3eval.oserrors import pass_on

POINTER = b"version https://git-lfs.github.com/spec/"
# Any of these is a vocabulary; tokenizer_config.json alone is none.
VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.spm", "tekken.json")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# The deepest published models have some 100 layers. Layers are made before weights are missed, so
# that a wrong number would fill the memory first.
MOST = {
    "num_hidden_layers": 1000,
    "n_layers": 1000,
    "hidden_size": 1_000_000,
    "dim": 1_000_000,
    "num_attention_heads": 10_000,
}
AGAIN = "Fetch it again from where it is from."


def examine(folder: Path, own_code: bool = False) -> dict[str, Any]:
    """Looks at a folder in Hugging Face's layout.

    Args:
        folder: has config.json.
        own_code: its own Python code is to be run, which may keep a vocabulary anywhere.

    Returns:
        The entries of config.json.

    Raises:
        UserError: it is an adapter, has files that are pointers, cut short or outside of it, or has
            no vocabulary or no config.
    """
    require_whole(folder)
    config = folder / "config.json"
    if not config.exists():
        raise UserError(
            f"{folder} is not a checkpoint that transformers can read: it has no config.json."
        )
    entries = read_object(config)
    if named := entries.get("transformers_weights"):
        raise UserError(
            f"{config} names its weights itself (transformers_weights={named!r}): call the file "
            "model.safetensors, and take the entry out."
        )
    for name, most in MOST.items():
        number = entries.get(name, 1)
        if type(number) is not int or not 1 <= number <= most:
            raise UserError(
                f"{config} says {name}={number!r}: a whole number from 1 to {most:,} belongs "
                "there, the one that the weights were saved with."
            )
    for name in INDEXES:
        if (folder / name).exists():
            require_shards(folder / name)
    if not own_code and not any(any(folder.glob(pattern)) for pattern in VOCABULARIES):
        raise UserError(
            f"{folder} has no tokeniser (a trainer's checkpoint often lacks it): copy "
            "tokenizer.json and tokenizer_config.json from the model that was trained."
        )
    return entries


def require_whole(folder: Path) -> None:
    """Refuses what is part of a model only, or of a file.

    Raises:
        UserError: the folder holds an adapter, or a file that is a pointer or was cut short.
    """
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{folder} holds an adapter (adapter_config.json), which is no whole model: merge it "
            "into its base (peft: merge_and_unload, then save_pretrained, the tokeniser too)."
        )
    for path in files(folder):
        require_content(path)


def files(folder: Path) -> Iterator[Path]:
    """Every file of a checkpoint, in its folders too."""
    found = {path for pattern in FILES for path in folder.rglob(pattern)}
    return iter(sorted(path for path in found if not is_ignored(path.relative_to(folder))))


def require_content(path: Path) -> None:
    """Refuses a file that holds something else than its name says, or not all of it.

    Raises:
        UserError: it is a pointer of git-LFS, or weights that were cut short.
    """
    try:
        with regular(path).open("rb") as file:
            first = file.read(len(POINTER))
    except OSError as error:  # a broken link, as an interrupted download leaves it
        pass_on(error)
        raise UserError(f"{path} cannot be read ({error.strerror}). {AGAIN}") from error
    if first == POINTER:
        raise UserError(
            f"{path} is git-LFS's pointer to the file, not the file: run `git lfs pull` where it "
            "was cloned, or `hf download`."
        )
    if path.suffix == ".safetensors":
        require_whole_safetensors(path)
    # Files of PyTorch before 1.6 are no archives; torch tells whether they are whole.
    elif path.suffix in (".bin", ".pt") and first[:2] == b"PK" and not zipfile.is_zipfile(path):
        raise UserError(f"{path} is cut short: its archive has no end. {AGAIN}")
    elif not first:
        raise UserError(f"{path} is empty. {AGAIN}")


def require_whole_safetensors(path: Path) -> None:
    """Refuses weights whose header is none, or names more bytes than there are.

    Raises:
        UserError: says how many bytes there are, and how many there must be.
    """
    entries, first = safetensors_header(path)
    size = path.stat().st_size
    try:
        expected = first + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (TypeError, KeyError, IndexError) as error:
        raise no_header(path) from error
    if size != expected:
        raise UserError(
            f"{path} is damaged or cut short: it has {size:,} bytes, its header names "
            f"{expected:,}. {AGAIN}"
        )


def safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """What the header says of each tensor, and where in the file the tensors' bytes begin.

    The format: u64 length of the header, the header in JSON, the tensors' bytes.

    Raises:
        UserError: there is no header.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if 0 < length <= path.stat().st_size - 8 else b""
    try:
        entries = json.loads(header).items()
    except (ValueError, AttributeError) as error:
        raise no_header(path) from error
    return {name: entry for name, entry in entries if name != "__metadata__"}, 8 + length


def no_header(path: Path) -> UserError:
    """What is said of a file of weights without a header."""
    return UserError(f"{path} is damaged or cut short: it has no header. {AGAIN}")


def require_shards(index: Path) -> None:
    """Refuses an index that names other files than weights that lie beside it.

    Only these are among the hashes by which a checkpoint is known.

    Raises:
        UserError: names the file.
    """
    names = read_object(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise UserError(f"{index} names no weights (weight_map). {AGAIN}")
    for name in sorted({str(name) for name in names.values()}):
        if Path(name).name != name or not any(Path(name).match(each) for each in WEIGHTS):
            raise UserError(
                f"{index} names {name!r}: weights lie beside their index and are called "
                f"{' or '.join(WEIGHTS)}."
            )
        if not (index.parent / name).exists():
            raise UserError(f"{index.parent / name} is missing, which {index.name} names. {AGAIN}")


def read_object(path: Path) -> dict[str, Any]:
    """The entries of a JSON file that holds one object. Raises UserError where it does not."""
    entries = read_json(path)
    if not isinstance(entries, dict):
        raise UserError(f"{path} holds no object of JSON. {AGAIN}")
    return entries
