"""Queries and documents as pairs of tokens, as a model reads them that takes both at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from m3eval.encoders.engine.tokenization import TOKENIZED_AT_ONCE, slices

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Pair = tuple[str, str]  # query, document


class FramedPairs(NamedTuple):
    """Pairs as a model reads them."""

    ids: list[np.ndarray]  # of every pair, int32
    types: list[np.ndarray]  # int8
    cut: int  # pairs that lost tokens


@dataclass(frozen=True)
class PairFrame:
    """What a tokeniser puts around the two texts of a pair, and the types of their tokens."""

    ids: tuple[np.ndarray, np.ndarray, np.ndarray]  # before, between and behind the texts
    # Before, of the query, between, of the document, behind: types of special tokens are arrays.
    types: tuple[np.ndarray, int, np.ndarray, int, np.ndarray]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> PairFrame:
        """Reads it off a pair of short texts."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        pair = tokenizer.encode("a", "a")
        ids, types = np.array(pair.ids, np.int32), np.array(pair.type_ids, np.int8)
        texts = [i for i, text in enumerate(pair.sequence_ids) if text is not None]
        query = [i for i in texts if pair.sequence_ids[i] == 0]
        document = [i for i in texts if pair.sequence_ids[i] == 1]
        parts = slice(0, query[0]), slice(query[-1] + 1, document[0]), slice(document[-1] + 1, None)
        before, between, behind = (types[part] for part in parts)
        return cls(
            (ids[parts[0]], ids[parts[1]], ids[parts[2]]),
            (before, int(types[query[0]]), between, int(types[document[0]]), behind),
        )

    @property
    def tokens(self) -> int:
        """How many tokens it has."""
        return sum(map(len, self.ids))

    def _around(self, query: np.ndarray, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids int32 and types int8 of a pair, given the ids of its texts."""
        before, between, behind = self.ids
        types_before, of_query, types_between, of_document, types_behind = self.types
        types = [
            types_before,
            np.full(len(query), of_query, np.int8),
            types_between,
            np.full(len(document), of_document, np.int8),
            types_behind,
        ]
        ids = np.concatenate([before, query, between, document, behind])
        return ids, np.concatenate(types)

    def put_around(
        self, pairs: Sequence[Pair], tokenizer: Tokenizer, max_length: int
    ) -> FramedPairs:
        """The tokens of pairs, cut to `max_length` where there are more.

        Args:
            pairs: n queries and documents.
            tokenizer: the one that the frame is of.
            max_length: tokens of a pair, the frame's included.
        """
        tokenizer.no_padding()
        tokenizer.no_truncation()
        all_ids, all_types, cut = [], [], 0
        sizes = [len(query) + len(document) for query, document in pairs]
        for start, end in slices(sizes, TOKENIZED_AT_ONCE):
            texts = zip(*pairs[start:end], strict=True)
            encoded = [
                tokenizer.encode_batch_fast(list(column), add_special_tokens=False)
                for column in texts
            ]
            for columns in zip(*encoded, strict=True):
                query, document = (np.array(encoding.ids, np.int32) for encoding in columns)
                here, there = shares(len(query), len(document), max_length - self.tokens)
                cut += here < len(query) or there < len(document)
                ids, types = self._around(query[:here], document[:there])
                all_ids.append(ids)
                all_types.append(types)
        return FramedPairs(all_ids, all_types, cut)


def shares(query: int, document: int, room: int) -> tuple[int, int]:
    """How many tokens of each text of a pair stay: the longer one is cut first.

    As the tokenizers library has it for `longest_first`. It is done here because the library also
    makes a pair of every piece that it cuts off with every piece of the other text.

    Args:
        query: its tokens.
        document: its tokens.
        room: for both.
    """
    if query + document <= room:
        return query, document
    short, long = sorted((query, document))
    long = long if short > room else max(short, room - short)
    if short + long > room:
        short, long = room // 2, room - room // 2
    return (long, short) if query > document else (short, long)
