"""Writes .npy files. numpy's own `save` does not tell why a disk refused an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes an array as `numpy.save` does.

    Raises:
        OSError: the system refused it, with the reason, which numpy's error lacks.
    """
    array = np.asarray(array, order="C")  # which leaves a number a number
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.data.cast("B") if array.size else b"")
