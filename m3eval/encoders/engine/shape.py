"""What a transformer is like, by its config: neither torch nor transformers is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BERT = {"bert", "dpr"}  # a DPR checkpoint holds a BERT
# These count positions from the padding id + 1 on.
ROBERTA = {"roberta", "xlm-roberta", "camembert"}


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer, and who can compute it."""

    model_type: str  # as transformers names the architecture
    width: int  # of a hidden state
    vocabulary: int  # token ids
    limit: int  # the longest input in tokens
    packed: bool  # whether `packed.py` computes it

    @classmethod
    def of(cls, config: Any) -> Shape:
        """The shape that a config describes.

        Args:
            config: of transformers, or any object with the entries of a config.json as attributes.

        Raises:
            AttributeError: it does not have an entry that is needed, or has it under another name.
        """
        return cls(
            model_type=config.model_type,
            width=config.hidden_size,
            vocabulary=config.vocab_size,
            limit=longest(config),
            packed=supports(config),
        )


def longest(config: Any) -> int:
    """The longest input in tokens."""
    positions = config.max_position_embeddings
    if config.model_type in ROBERTA | {"xlm-roberta-xl"}:
        return positions - config.pad_token_id - 1
    return positions


def supports(config: Any) -> bool:
    """Whether `packed.py` computes it: encoders with absolute positions and norms at the end."""
    return (
        config.model_type in BERT | ROBERTA
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "add_cross_attention", False)
    )
