"""The settings of training, with their kinds: conf/data and conf/trainer explain each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from m3eval import kinds
from m3eval.benchmarks.texts import Role
from m3eval.kinds import NOT_EMPTY, Count, NotNegative, Positive, Share

# A limit in tokens, and how many questions share a step up to it.
Sizes = Annotated[list[Count], kinds.holds("a limit in tokens and a size", lambda it: len(it) == 2)]


@dataclass(frozen=True)
class DataSettings:
    """The texts, and which share a step."""

    files: Annotated[list[str], NOT_EMPTY]
    group: Count
    batch_sizes: Annotated[list[Sizes], NOT_EMPTY]
    by_source: bool
    max_query_length: Annotated[int, kinds.whole(8)]
    max_document_length: Annotated[int, kinds.whole(8)]

    @property
    def max_lengths(self) -> dict[Role, int]:
        """Tokens of a text of each role."""
        return {"query": self.max_query_length, "document": self.max_document_length}


@dataclass(frozen=True)
class TrainerSettings:
    """How long, how fast and with how much memory."""

    epochs: Positive
    steps: Count | None
    learning_rate: Positive
    learning_rates: dict[str, Positive]
    warmup: Share
    schedule: str
    weight_decay: NotNegative
    max_gradient: NotNegative
    accumulation: Count
    precision: Literal["fp32", "bf16", "fp16"]
    part_size: Count | None
    gradient_cache: bool
    gradient_checkpointing: bool
    cache_states: bool
    save_every: Count | None
    keep: Count
    evaluate_every: Count | None
    evaluation: list[str]
    log_every: Count
    report_to: list[str]
