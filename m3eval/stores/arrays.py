"""Writes and opens .npy files: numpy's own `save` does not tell why a disk refused an array."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from m3eval.buckets import opened
from m3eval.lazy import numpy as np

HEADER = 128  # bytes before the numbers of an array of few dimensions: numpy pads to 64


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes an array as `numpy.save` does.

    Raises:
        OSError: the system refused it, with the reason, which numpy's error lacks.
    """
    array = np.asarray(array, order="C")  # which leaves a number a number
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        assert file.tell() == HEADER, array.shape  # by which `shard.size` knows what arrays take
        file.write(array.data.cast("B") if array.size else b"")


def load_array(path: Path, mode: Literal["r", "c"] | None = None) -> Any:
    """An array; memory-mapped where a mode is given. It is fetched where an object store has it."""
    with opened(path) as file:
        return np.load(file, mmap_mode=mode)
