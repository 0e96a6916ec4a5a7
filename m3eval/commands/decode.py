"""What a text says in terms: the terms of its sparse representation, heaviest first.

    python -m m3eval.decode encoder=splade_tiny 'text=What is the capital of France?'
    python -m m3eval.decode encoder=bge_m3 encoder.checkpoint=/models/bge-m3 role=document k=50 < texts.txt

Without text= every line of standard input is decoded, whatever signs it has. Latent terms have no words and are numbers.
Ends with status 2 when the settings or the checkpoint cannot be used.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from m3eval.config import Setup
from m3eval.console import say
from m3eval.encoders.encoder import Request, TextEncoder, Wanted
from m3eval.encoders.engine.tokenization import Tokenization
from m3eval.errors import UserError
from m3eval.lazy import scipy


class Term(NamedTuple):
    """A term that a text activates."""

    number: int  # in the vocabulary
    word: str | None  # as the tokeniser writes it; None: a latent term
    weight: float


def run(setup: Setup) -> None:
    """Decode texts: the terms that an encoder gives them"""
    cfg, encoder = setup.cfg, setup.encoder
    lengths = {"query": setup.rules.max_query_length, "document": setup.rules.max_document_length}
    if cfg.role not in lengths or (cfg.k is not None and cfg.k < 1):
        raise UserError(
            f"role={cfg.role} must be query or document, and k={cfg.k} at least 1 or null for all terms."
        )
    if encoder.tokenization is None:
        raise UserError(
            f"The words of {encoder.name} are its library's own affair: decode reads m3eval's own encoders."
        )
    max_length = min(lengths[cfg.role], encoder.token_limit(cfg.role))
    encoder.check(["sparse"], max_length)
    say(f"encoder    {encoder.label}; on {setup.runtime}")
    texts = [cfg.text] if cfg.text is not None else [line.rstrip("\n") for line in sys.stdin]
    for text in texts:
        found = encoder.encode(Request([text], cfg.role, max_length), Wanted(["sparse"]))
        terms = activated_terms(encoder, found.sparse)
        cut = f", cut at {max_length:,}" if found.truncated else ""
        say(
            f"\n{encoder.framed(text, cfg.role)!r}: {found.tokens:,} tokens{cut}, {len(terms):,} terms"
        )
        for term in terms[: cfg.k]:
            say(
                f"{term.weight:10.4f}  {f'latent {term.number}' if term.word is None else term.word}"
            )


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
    tokenizer = tokenization.tokenizer
    return (
        tokenizer.decode([number], skip_special_tokens=False)
        or tokenizer.id_to_token(number)
        or f"unused {number}"
    )
