"""An encoder: a backbone and its heads; one forward pass gives every representation that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from m3eval.benchmarks.task import Role
from m3eval.encoders.backbone import Backbone
from m3eval.encoders.heads import DenseHead, MultiVectorHead, SparseHead
from m3eval.encoders.representations import Ragged, Representation, Representations, segment_max
from m3eval.errors import UserError


@dataclass
class Encoder:
    """What every file in this folder builds."""

    name: str  # names stores and results
    label: str  # what tables call it
    backbone: Backbone
    dense: DenseHead | None
    sparse: SparseHead | None
    multi_vector: MultiVectorHead | None
    identity: dict[str, Any]  # all that decides its output: settings, and file hashes of the checkpoint
    prefixes: dict[Role, str] = field(default_factory=lambda: {"query": "", "passage": ""})

    @property
    def representations(self) -> list[Representation]:
        """What this checkpoint has."""
        heads = {"dense": self.dense, "sparse": self.sparse, "multi_vector": self.multi_vector}
        return [name for name, head in heads.items() if head is not None]

    def check(self, wanted: Collection[Representation], max_length: int) -> None:
        """Refuses what this encoder cannot do, before anything is loaded.

        Raises:
            UserError: a representation the checkpoint has not, or inputs longer than it reads.
        """
        if lacking := sorted(set(wanted) - set(self.representations)):
            raise UserError(
                f"encoder {self.name} has no {' or '.join(lacking)} representation: its checkpoint has "
                f"{', '.join(self.representations)}. Choose the representations and the retrievers among these."
            )
        if max_length > self.backbone.limit:
            raise UserError(
                f"The benchmark asks for inputs of {max_length:,} tokens, encoder {self.name} reads at most "
                f"{self.backbone.limit:,}. To evaluate it on cut texts, say so: benchmark.text.max_passage_length="
                f"{self.backbone.limit} (and max_query_length); tables state the length."
            )

    def prefix_tokens(self, role: Role) -> int:
        """How many tokens the prefix of a role takes, between CLS and the text."""
        prefix = self.prefixes[role].rstrip()
        return len(self.backbone.tokenizer.encode(prefix, add_special_tokens=False).ids) if prefix else 0

    def encode(
        self,
        texts: Sequence[str],
        role: Role,
        wanted: Collection[Representation],
        max_length: int,
        on_batch: Callable[[np.ndarray], None] = lambda rows: None,
        dtype: type[np.floating] = np.float16,
    ) -> Representations:
        """Encodes n texts.

        Args:
            texts: n texts without prefix.
            role: decides the prefix; nothing else differs between queries and passages.
            wanted: representations to compute.
            max_length: tokens, prefix and special tokens included; longer texts are cut and counted.
            on_batch: called after each batch with the positions of its texts.
            dtype: of the multi-vectors, which fill the memory; float16, as stores hold them, unless told otherwise.

        Returns:
            arrays in the order of the texts; dense and sparse in float32.
        """
        tokens = self.backbone.tokenize([self.prefixes[role] + text for text in texts], max_length)
        n, n_prefix = len(texts), self.prefix_tokens(role)
        dense, multi, sparse = None, None, []
        if "multi_vector" in wanted:
            counts = self.multi_vector.lengths(tokens.lengths, n_prefix)
            offsets = np.concatenate([[0], np.cumsum(counts)])
            multi = Ragged(np.empty((offsets[-1], self.multi_vector.dimension), dtype), offsets)
        for hidden in self.backbone.forward(tokens):
            with torch.inference_mode():
                if "dense" in wanted:
                    vectors = self.dense(hidden)
                    dense = np.empty((n, vectors.shape[1]), np.float32) if dense is None else dense
                    dense[hidden.rows] = vectors
                if "sparse" in wanted:
                    sparse.append(self.sparse(hidden, n_prefix))
                if multi is not None:
                    ends = np.cumsum(counts[hidden.rows])
                    for row, vectors in zip(hidden.rows, np.split(self.multi_vector(hidden, n_prefix), ends[:-1]), strict=True):
                        multi[row][:] = vectors
            on_batch(hidden.rows)
        return Representations(
            dense,
            self._lexical(sparse, n) if "sparse" in wanted else None,
            multi,
            int(tokens.lengths.sum()),
            tokens.truncated,
        )

    def _lexical(self, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], n: int) -> Any:
        rows, ids, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
        matrix = segment_max(rows, ids, weights, (n, self.sparse.vocabulary))
        if self.sparse.normalize:
            norms = np.sqrt(np.add.reduceat(np.append(matrix.data**2, 0), matrix.indptr[:-1]))
            matrix.data /= np.repeat(norms, np.diff(matrix.indptr))
        return matrix
