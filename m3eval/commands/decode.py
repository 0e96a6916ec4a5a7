"""What a text says in terms: the terms of its sparse representation, heaviest first."""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from m3eval.config import Setup
from m3eval.console import say
from m3eval.encoders.encoder import Request, TextEncoder, Wanted, check_able
from m3eval.encoders.engine.tokenization import Tokenization
from m3eval.errors import UserError
from m3eval.lazy import scipy


class Term(NamedTuple):
    """A term that a text activates."""

    number: int  # in the vocabulary
    word: str | None  # as the tokeniser writes it; None: a latent term
    weight: float


def run(setup: Setup) -> None:
    """Prints the terms of a text, or of every line of standard input.

    Raises:
        UserError: the encoder has no terms.
    """
    cfg = setup.cfg
    encoder = setup.encoder
    if encoder.tokenization is None:
        raise UserError(
            f"{encoder.name} does not tell its tokens apart: decode reads m3eval's own encoders."
        )
    max_length = min(setup.rules.max_length(cfg.role), encoder.token_limit(cfg.role))
    check_able(encoder, ["sparse"], max_length)
    say(f"encoder    {encoder.label}; on {setup.runtime}")
    texts = [cfg.text] if cfg.text is not None else [line.rstrip("\n") for line in sys.stdin]
    for text in texts:
        encoded = encoder.encode(Request([text], cfg.role, max_length), Wanted(["sparse"]))
        terms = activated_terms(encoder, encoded.sparse)
        cut = f", cut at {max_length:,}" if encoded.truncated else ""
        framed = repr(encoder.framed(text, cfg.role))
        say(f"\n{framed}: {encoded.tokens:,} tokens{cut}, {len(terms):,} terms")
        for term in terms[: cfg.k]:
            word = f"latent {term.number}" if term.word is None else term.word
            say(f"{term.weight:10.4f}  {word}")


def activated_terms(encoder: TextEncoder, row: scipy.sparse.csr_array) -> list[Term]:
    """The terms of a text, heaviest first, equal ones by their numbers.

    Args:
        encoder: that made the row.
        row: [1, vocabulary], a row of its sparse representation or of a store's.
    """
    order = np.lexsort([row.indices, -row.data])
    tokenization = None if encoder.latent else encoder.tokenization
    return [
        Term(number, None if tokenization is None else _word(tokenization, number), weight)
        for number, weight in zip(
            row.indices[order].tolist(), row.data[order].tolist(), strict=True
        )
    ]


def _word(tokenization: Tokenization, number: int) -> str:
    """A term as people read it; numbers that stand for nothing are unused."""
    tokenizer = tokenization.tokenizer
    return (
        tokenizer.decode([number], skip_special_tokens=False)
        or tokenizer.id_to_token(number)
        or f"unused {number}"
    )
