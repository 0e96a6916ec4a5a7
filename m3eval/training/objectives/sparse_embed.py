"""The objective SparseEmbed: SPLADE's terms, each with a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from m3eval import kinds
from m3eval.benchmarks.texts import Role
from m3eval.console import say
from m3eval.encoders.heads.expansion import AttentionOver
from m3eval.encoders.heads.head import read_linear
from m3eval.encoders.splade_files import METADATA
from m3eval.files import read_json, write_json
from m3eval.kinds import NOT_EMPTY, Count, NotNegative
from m3eval.lazy import torch
from m3eval.training.losses.contrastive import positives
from m3eval.training.losses.flops import Flops
from m3eval.training.losses.terms import ranking, ranking_where_shared
from m3eval.training.objectives.m3 import lexical_health
from m3eval.training.objectives.objective import Step
from m3eval.training.objectives.splade import folder_of, language_model, save_language_model
from m3eval.training.similarity import Embedded, dense, lexical, shared_vectors
from m3eval.training.start import Start

if TYPE_CHECKING:
    from torch import nn

    from m3eval.training.models_mlm import TermModel

LINEAR = "linear.pt"
# What a text keeps in neural-cherche where nobody says otherwise.
K_TOKENS: dict[Role, int] = {"query": 64, "document": 256}
OfRoles = Annotated[
    dict[str, Count],
    kinds.holds("a number for query and one for document", lambda it: {*it} == {*K_TOKENS}),
]


@dataclass(frozen=True)
class SparseEmbedObjective:
    """Settings: see conf/objective/sparse_embed.yaml."""

    flops: Flops = field(default_factory=Flops)
    width: Count = 128
    attention_over: AttentionOver = "terms"
    k_tokens: OfRoles | None = None
    vectors_weight: NotNegative = 1.0
    terms_weight: NotNegative = 0.1
    in_batch_negatives: bool = True
    only_train: Annotated[list[str], NOT_EMPTY] | None = None
    sides: Sequence[str] = ("queries", "documents")
    gathered: Sequence[str] = ("queries", "documents")
    needs_scores: bool = False

    def model(self, start: Start) -> TermModel:
        """The start's language model, with its layer for vectors or a new one."""
        from m3eval.training.models_mlm import TermModel

        parts, folder = language_model(start), folder_of(start)
        self.flops.prepare()
        states = start.checkpoint.shape.width
        if (folder / LINEAR).exists():
            linear = read_linear(folder / LINEAR, states, False, "").requires_grad_(True)
        else:
            say(f"  vectors      a new layer: {start.name} has no {LINEAR}")
            linear = torch.nn.Linear(states, self.width, bias=False)
            gain = torch.nn.init.calculate_gain("relu")
            torch.nn.init.xavier_uniform_(linear.weight, gain)
        return TermModel(parts, "max", 1, self._k_tokens(start), linear, self.attention_over)

    def save(self, model: nn.Module, start: Start, folder: Path) -> None:
        """Writes neural-cherche's layout."""
        save_language_model(model, start, folder)
        torch.save(model.get_submodule("linear").state_dict(), folder / LINEAR)
        said: dict[str, Any] = {
            **{f"{role}_prefix": prefix for role, prefix in start.prefixes.items()},
            "padding": "max_length",
            "truncation": True,
            "add_special_tokens": True,
            "n_mask_tokens": 0,
        }
        if (path := folder_of(start) / METADATA).exists():
            said = read_json(path)
        k_tokens = {f"max_length_{role}": k for role, k in self._k_tokens(start).items()}
        write_json(folder / METADATA, said | k_tokens)

    def encoder_words(self, folder: Path) -> list[str]:
        """See `Objective`."""
        return [
            "encoder=sparse_embed",
            f"encoder.checkpoint={folder}",
            f"encoder.attention_over={self.attention_over}",
        ]

    def __call__(
        self, own: Mapping[str, Embedded], everybodys: Mapping[str, Embedded], step: Step
    ) -> dict[str, torch.Tensor]:
        """See `Objective`."""
        queries, documents = own["queries"], everybodys["documents"]
        weights = queries["weights"]
        positive = positives(len(weights), step.group, step.first, weights.device)
        how = (positive, step.group, self.in_batch_negatives)
        of_terms = ranking(dense(weights, documents["weights"]), *how)
        of_vectors = ranking_where_shared(
            shared_vectors(
                queries["terms"], queries["vectors"], documents["terms"], documents["vectors"]
            ),
            share(queries["terms"], documents["terms"]),
            *how,
        )
        parts = self.flops(
            everybodys["queries"]["weights"], documents["weights"], step.number, step.total
        )
        loss = self.vectors_weight * of_vectors + self.terms_weight * of_terms
        parts |= {"ce_vectors": of_vectors, "ce_terms": of_terms}
        return (
            {"loss": loss + parts["regulariser"]}
            | {name: value.detach() for name, value in parts.items()}
            | lexical_health("query", queries)
            | lexical_health("document", own["documents"])
        )

    def _k_tokens(self, start: Start) -> dict[Role, int]:
        given = self.k_tokens or {}
        return {role: given.get(role) or start.k_tokens[role] or k for role, k in K_TOKENS.items()}


def share(query_terms: torch.Tensor, document_terms: torch.Tensor) -> torch.Tensor:
    """[q, p] bool: whether texts have a term in common, by their terms [q, n] and [p, m]."""
    ones = (torch.ones_like(terms, dtype=torch.float32) for terms in (query_terms, document_terms))
    of_queries, of_documents = ones
    return lexical(query_terms, of_queries, document_terms, of_documents) > 0
