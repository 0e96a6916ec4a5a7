"""Drawn examples -> the tensors of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from m3eval.benchmarks.texts import Role
from m3eval.encoders.encoder import Prefixes
from m3eval.encoders.engine.tokenization import Tokenization
from m3eval.training.data import Drawn
from m3eval.training.gradient_cache import Side

if TYPE_CHECKING:
    from m3eval.training.states import States


@dataclass(frozen=True)
class Collation:
    """Makes a batch: what to encode by side, and what an objective needs besides.

    A side has "ids" [n, length] int64; "mask", True at tokens; and "kept", True at those that
    lexical weights and multi-vectors are made of: all but CLS and the prefix; "asking" [n, 1],
    whether texts are queries. Of a frozen backbone it has "states" [n, length, h], too.
    """

    tokenization: Tokenization
    prefixes: Prefixes
    suffixes: Prefixes
    max_lengths: Mapping[Role, int]
    padding: int
    states: States | None = None

    def __call__(self, drawn: Sequence[Drawn]) -> dict[str, Any]:
        """The batch of some draws, whose documents stand group after group."""
        documents = [text for each in drawn for text in each.documents]
        batch: dict[str, Any] = {
            "queries": self.side([each.query for each in drawn], "query"),
            "documents": self.side(documents, "document"),
        }
        if all(each.scores is not None for each in drawn):
            batch["teacher_scores"] = torch.tensor([each.scores for each in drawn])
        if all(each.negative_queries for each in drawn):
            asked = [text for each in drawn for text in each.negative_queries or ()]
            batch["negative_queries"] = self.side(asked, "query")
        return batch

    def side(self, texts: Sequence[str], role: Role) -> Side:
        """Padded tokens of texts."""
        ids = self.tokenize(texts, role)
        lengths = np.array([len(each) for each in ids])
        places = np.arange(int(lengths.max()))
        mask = places < lengths[:, None]
        tokens = np.full(mask.shape, self.padding, np.int64)
        tokens[mask] = np.concatenate(ids)
        first = 1 + self.tokenization.prefix_tokens(self.prefixes[role])
        side = {"ids": tokens, "mask": mask, "kept": mask & (places >= first)}
        tensors = {name: torch.from_numpy(array) for name, array in side.items()}
        tensors["asking"] = torch.full((len(texts), 1), role == "query")
        if self.states is not None:
            tensors["states"] = self.states.padded(texts, role, mask.shape[1])
        return tensors

    def tokenize(self, texts: Sequence[str], role: Role) -> list[np.ndarray]:
        """Token ids of texts with what stands around them, cut at the role's length."""
        framed = [self.prefixes[role] + text + self.suffixes[role] for text in texts]
        return self.tokenization(framed, self.max_lengths[role]).ids
