"""A list of texts on its way through a model: its packs are computed, their results collected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from m3eval.encoders.encoder import Wanted
from m3eval.encoders.engine.backbone import Backbone
from m3eval.encoders.engine.packs import Pack
from m3eval.encoders.engine.tokenization import Tokens
from m3eval.encoders.finite import Watch
from m3eval.encoders.heads.collectors import PackRows
from m3eval.encoders.heads.head import Heads
from m3eval.encoders.representations import Packed, Representations
from m3eval.encoders.windows import by_text
from m3eval.lazy import torch
from m3eval.manifests import Representation

if TYPE_CHECKING:
    from m3eval.encoders.engine.execution import Outputs
    from m3eval.encoders.heads.collectors import Collector


@dataclass
class Reader:
    """What reads the texts of one role."""

    backbone: Backbone
    heads: Heads
    n_prefix: int  # tokens of the prefix


@dataclass
class ListUnderWay:
    """The texts of one request between tokeniser and result."""

    number: int  # of the request
    tokens: Tokens  # of the texts, or of their windows
    reader: Reader
    wanted: Wanted
    watch: Watch
    collectors: dict[Representation, Collector[Any]] = field(init=False)
    reduced: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    rows_done: int = 0

    def __post_init__(self) -> None:
        names = list(self.wanted.representations)
        if self.wanted.reduce is not None:
            names.remove("multi_vector")
        lengths, n_prefix = self.tokens.lengths, self.reader.n_prefix
        self.collectors = {
            name: self.reader.heads[name].collector(lengths, n_prefix, self.wanted.dtype)
            for name in names
        }

    def compute(self, pack: Pack) -> Outputs:
        """All that is wanted of a pack, on the device."""
        heads, n_prefix = self.reader.heads, self.reader.n_prefix
        names = list(self.wanted.representations)
        # Where only one token of each text is read, the model may leave out work on the others.
        only = heads.dense.token(pack.lengths) if heads.dense and names == ["dense"] else None
        hidden = self.reader.backbone.forward(pack, only)
        outputs = {name: heads[name](hidden, n_prefix) for name in names}
        if "multi_vector" in outputs:
            (vectors,) = outputs["multi_vector"]
            vectors = vectors.to(getattr(torch, np.dtype(self.wanted.dtype).name))
            if self.wanted.reduce is not None and heads.multi_vector is not None:
                counts = heads.multi_vector.vectors(pack.lengths, n_prefix)
                sums = vectors.sum(1, dtype=torch.float32)  # finite where all of a vector is
                vectors = self.wanted.reduce(self.number, pack.rows, Packed(vectors, counts))
                outputs["multi_vector"] = (vectors, sums, torch.from_numpy(counts))
            else:
                outputs["multi_vector"] = (vectors,)
        return outputs

    def add(self, pack: Pack, outputs: Outputs) -> None:
        """Takes in a pack's results, once they are on the host."""
        self.rows_done += len(pack.rows)
        for name, tensors in outputs.items():
            arrays = [tensor.numpy() for tensor in tensors]
            if name in self.collectors:
                self._look(name, pack, self.collectors[name].add(pack.rows, *arrays))
            else:
                values, sums, counts = arrays
                self._look(name, pack, PackRows(counts, (sums,)))
                self.reduced.append((pack.rows, values))
        if self.wanted.on_pack is not None:
            self.wanted.on_pack(self.number, self.tokens.texts(pack.rows))

    def _look(self, name: str, pack: Pack, part: PackRows) -> None:
        """Refuses numbers that are not finite. Raises NotFinite, which names the text."""

        def text_of(row: int) -> int:
            of_pack = np.searchsorted(np.cumsum(part.counts), row, "right")
            return self.tokens.text_of(int(pack.rows[of_pack]))

        for array in part.arrays:
            if array.dtype.kind == "f":
                self.watch.look(name, array, text_of)

    @property
    def complete(self) -> bool:
        """Whether every text was computed."""
        return self.rows_done == len(self.tokens.ids)

    def result(self) -> Representations:
        """The representations of the texts, in their order."""
        result = Representations(
            **{name: collector.result() for name, collector in self.collectors.items()},
            reduced=None if self.wanted.reduce is None else self.reduced,
            tokens=int(self.tokens.lengths.sum()),
            truncated=self.tokens.truncated,
        )
        return result if self.tokens.offsets is None else by_text(result, self.tokens.offsets)
