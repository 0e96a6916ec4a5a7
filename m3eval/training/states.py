"""Hidden states of a transformer that does not learn, computed once and read in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from m3eval.benchmarks.texts import Role
from m3eval.console import say, size
from m3eval.encoders.engine.backbone import Backbone
from m3eval.encoders.engine.execution import execute
from m3eval.encoders.engine.packs import packs
from m3eval.files import digest, read_json, write_json

if TYPE_CHECKING:
    from m3eval.runtime import Runtime
    from m3eval.training.start import Start

DTYPE = np.float16  # as stores hold vectors


@dataclass(frozen=True)
class States:
    """Last hidden states of texts, one text after the other."""

    rows: dict[tuple[Role, str], int]  # (role, text) -> its number
    offsets: np.ndarray  # [texts + 1] int64
    vectors: np.ndarray  # [tokens, h], on disk

    def padded(self, texts: Sequence[str], role: Role, length: int) -> torch.Tensor:
        """[n, length, h]: the states of texts, zeros behind them."""
        batch = np.zeros((len(texts), length, self.vectors.shape[1]), DTYPE)
        for place, text in enumerate(texts):
            row = self.rows[role, text]
            own = self.vectors[self.offsets[row] : self.offsets[row + 1]]
            batch[place, : len(own)] = own
        return torch.from_numpy(batch)


def computed(
    folder: Path,
    start: Start,
    texts: Sequence[tuple[Role, str]],
    tokenize: Callable[[Sequence[str], Role], list[np.ndarray]],
    max_lengths: Mapping[Role, int],
    runtime: Runtime,
) -> States:
    """The states of texts: read from a folder that has them, else computed into it.

    Args:
        folder: holds a folder for each set of texts, model and lengths.
        start: the model.
        texts: with their roles; repeated ones count once.
        tokenize: texts of a role -> token ids, prefix included.
        max_lengths: at which they are cut.
        runtime: the machine.
    """
    distinct = list(dict.fromkeys(texts))
    rows = {key: number for number, key in enumerate(distinct)}
    of = {
        "files": start.files,
        "prefixes": start.prefixes,
        "max_lengths": dict(max_lengths),
        "precision": runtime.precision,
        "texts": digest(distinct),
    }
    place = folder / digest(of)[:16]
    if (place / "of.json").exists() and read_json(place / "of.json") == of:
        say(f"states     those of {place} are used again")
        return _read(place, rows)
    ids: list[np.ndarray] = []
    for role in ("query", "document"):
        ids += tokenize([text for its, text in distinct if its == role], role)
    # Texts of one role stand together there, and here as they come.
    order = [
        i for role in ("query", "document") for i, (its, _) in enumerate(distinct) if its == role
    ]
    of_text: list[np.ndarray] = [ids[0]] * len(ids)
    for number, tokens in zip(order, ids, strict=True):
        of_text[number] = tokens
    lengths = np.array([len(tokens) for tokens in of_text])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    width, total = start.checkpoint.shape.width, int(offsets[-1])
    say(
        f"states     {len(distinct):,} texts, {total:,} tokens, "
        f"{size(total * width * DTYPE().itemsize)} -> {place}"
    )
    place.mkdir(parents=True, exist_ok=True)
    np.save(place / "offsets.npy", offsets)
    vectors = np.lib.format.open_memmap(
        place / "vectors.npy", "w+", dtype=DTYPE, shape=(total, width)
    )
    backbone = Backbone(start.checkpoint, runtime)
    runtime.set_up_torch()
    _ = backbone.model
    done = 0
    for pack, outputs in execute(
        packs(of_text, runtime), lambda pack: {"states": (backbone.forward(pack).states,)}, runtime
    ):
        states = outputs["states"][0].float().numpy().astype(DTYPE)
        for row, part in zip(
            pack.rows, np.split(states, np.cumsum(pack.lengths)[:-1]), strict=True
        ):
            vectors[offsets[row] : offsets[row + 1]] = part
        done += len(pack.ids)
    vectors.flush()
    write_json(place / "of.json", of)
    return _read(place, rows)


def _read(place: Path, rows: dict[tuple[Role, str], int]) -> States:
    vectors = np.load(place / "vectors.npy", mmap_mode="r")
    return States(rows, np.load(place / "offsets.npy"), vectors)
