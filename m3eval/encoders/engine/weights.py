"""Weights of a checkpoint, read so that each lies in memory once.

transformers maps a checkpoint's files. What was read of a map stays in memory as long as one weight
of the file is alive, beside the copy that oneDNN lays out or the one in another precision. Here
each weight is read through a map of its own, which ends when the weight was copied. Only a table of
which few rows are read, that of the words, stays in the file, and after every pack the system has
back what was read of it (docs/log.md).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from m3eval.encoders.engine.shape import supports
from m3eval.encoders.examination import safetensors_header
from m3eval.encoders.transfer import to_device
from m3eval.files import read_json
from m3eval.lazy import torch, transformers

TABLE = "word_embeddings.weight"  # ends the name of the weight that stays in its file
LARGE = 2**20  # bytes
ROWS = 128  # of a table in a file, read at once: 8 MB with the pages around them
_TABLES: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()  # by where they begin


def from_folder(
    kind: Any, folder: Path, dtype: torch.dtype, by_rows: bool = True, **options: Any
) -> Any:
    """What `from_pretrained` gives of a folder, with what it says of the loading.

    Args:
        kind: a class of models of transformers, or one of its AutoModels.
        folder: of the checkpoint.
        dtype: of the weights.
        by_rows: whether the table of words is read by `rows_of` only, and may stay in its file.
        options: of `from_pretrained` besides.
    """
    options |= {"dtype": dtype, "output_loading_info": True}
    paths = _safetensors(folder)
    config = None if options.get("trust_remote_code") else _config(folder)
    if not paths or config is None or not supports(config):
        return kind.from_pretrained(folder, **options)
    if hasattr(kind, "from_config"):  # an AutoModel: which class it takes
        with torch.device("meta"):
            kind = type(kind.from_config(config))
    return kind.from_pretrained(
        None, config=config, state_dict=_weights(paths, dtype, _exact(kind), by_rows), **options
    )


def _config(folder: Path) -> transformers.PretrainedConfig:
    return transformers.AutoConfig.from_pretrained(folder)


def _safetensors(folder: Path) -> list[Path]:
    """The files that transformers reads; none where it reads files of PyTorch."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists():
        return [whole]
    names = read_json(index)["weight_map"].values() if index.exists() else ()
    return [folder / name for name in sorted({*names})]


def _exact(kind: Any) -> tuple[str, ...]:
    """Parts of names of weights that stay in fp32, whatever the model computes in."""
    said = ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
    return tuple(part for each in said for part in getattr(kind, each, None) or ())


def _weights(
    paths: Iterable[Path], dtype: torch.dtype, exact: tuple[str, ...], by_rows: bool
) -> dict[str, torch.Tensor]:
    from safetensors import safe_open

    weights = {}
    for path in paths:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
        for name in names:
            with safe_open(path, "pt") as file:  # a map of its own, which goes with the weight
                mapped = file.get_tensor(name)
            stays = not mapped.is_floating_point() or any(part in name for part in exact)
            wanted = mapped.dtype if stays else dtype
            in_file = by_rows and name.endswith(TABLE) and mapped.dtype == wanted
            weights[name] = _in_file(path, name, mapped) if in_file else _copied(mapped, wanted)
    return weights


def _in_file(path: Path, name: str, weights: torch.Tensor) -> torch.Tensor:
    """Weights where their file has them, known to `rows_of`. What is written stays in memory."""
    entries, first = safetensors_header(path)
    start = first + entries[name]["data_offsets"][0]
    before = start % mmap.ALLOCATIONGRANULARITY  # a map begins at a multiple of that
    with path.open("rb") as file:
        pages = mmap.mmap(
            file.fileno(),
            before + weights.nbytes,
            access=mmap.ACCESS_COPY,
            offset=start - before,
        )
    table = torch.frombuffer(pages, dtype=weights.dtype, count=weights.numel(), offset=before)
    _TABLES[table.data_ptr()] = pages
    return table.view(weights.shape)


def rows_of(table: torch.Tensor, ids: np.ndarray) -> torch.Tensor:
    """[T, h]: the rows [T] of a table [vocabulary, h], where the table is.

    Of a table that lies in a file few are read at a time, each once. Then the system has back the
    memory of what was read, which is sixteen pages for one: they stay in its cache. Of a table that
    was written to since, as by training, nothing is given back: that would undo it.
    """
    pages = _TABLES.get(table.data_ptr())
    written = not table.is_inference() and table._version > 0  # an inference tensor counts nothing
    if pages is None or written:
        return torch.nn.functional.embedding(to_device(ids, table.device), table)
    distinct, places = np.unique(ids, return_inverse=True)
    numbers = torch.from_numpy(distinct)
    rows = table.new_empty(len(distinct), table.shape[1])
    for start in range(0, len(distinct), ROWS):
        part = slice(start, start + ROWS)
        torch.index_select(table, 0, numbers[part], out=rows[part])
        if hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)
    return torch.nn.functional.embedding(torch.from_numpy(places), rows)


def _copied(mapped: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A copy; a large one in pages of its own, which the system has back when it is dropped.

    malloc would keep them: what oneDNN lays out in their stead does not fit where they were.
    """
    size = mapped.numel() * dtype.itemsize
    if size < LARGE:
        return mapped.to(dtype, copy=True)
    pages = torch.frombuffer(mmap.mmap(-1, size, access=mmap.ACCESS_COPY), dtype=dtype)
    return pages.view(mapped.shape).copy_(mapped)
