"""How many inverted lists a corpus gets, how many a query looks into, and from when on they pay."""

from __future__ import annotations

import math

from m3eval.errors import UserError

DOCUMENTS_OF_A_LIST = 40  # at least, to train on: below 39 faiss warns that centres mean little
# Lists that a query looks into: so many, one in so many, and so many documents for each of depth.
LEAST_PROBES, PROBED, LOOKED_AT = 64, 64, 128
# Codes of 8 bits mistake the last documents of a list for others: more are scored than are asked.
CANDIDATES = 1.25
# What costs beside a document that exact search compares with a query: a document that is compared
# with a centre (in ROUNDS to train, then to be added), one of a list, and one that is scored anew.
ROUNDS, BUILD, SCAN, RESCORE = 10, 0.85, 5.7, 355.0


def lists_for(documents: int, asked: int | None) -> int:
    """The number of lists for a corpus.

    Args:
        documents: how many there are.
        asked: the setting. None: the largest power of two within 2 x the root of the documents, and
            no more than leave 40 documents a list.

    Raises:
        UserError: there are less than 40 documents for each of them.
    """
    most = documents // DOCUMENTS_OF_A_LIST
    if (asked or 1) > most:
        few = f"lists={asked}" if asked else "engine=ivf"
        lower = f"lists={most} or fewer, or " if most else ""
        raise UserError(
            f"retriever.dense.{few} needs {DOCUMENTS_OF_A_LIST * (asked or 1):,} documents, "
            f"{DOCUMENTS_OF_A_LIST} for each list, and the corpus has {documents:,}: set "
            f"{lower}retriever.dense.engine=exact."
        )
    return asked or min(most, 1 << (int(2 * documents**0.5).bit_length() - 1))


def probes_for(documents: int, depth: int, lists: int, asked: int | None) -> int:
    """The number of lists that a query looks into.

    Args:
        documents: how many there are.
        depth: how many of them a query asks for.
        lists: how many there are.
        asked: the setting. None: so many as hold 128 x depth documents, and not less than 64 or
            than one list in 64; all of them if there are fewer.

    Raises:
        UserError: there are fewer lists than asked for.
    """
    if asked and asked > lists:
        raise UserError(
            f"retriever.dense.probes={asked}: there are {lists} lists; set it to at most that."
        )
    deep = math.ceil(LOOKED_AT * depth * lists / documents)
    return asked or min(lists, max(LEAST_PROBES, lists // PROBED, deep))


def pays(documents: int, depth: int, lists: int, probes: int) -> str:
    """From how many queries of a corpus on lists cost less than exact search, in a sentence."""
    asked = f"{probes:,} of {lists:,} lists of {documents:,} documents"
    least = break_even(documents, depth, lists, probes)
    if least is None:
        return f"{asked}: exact search costs less, however many the queries"
    return (
        f"{asked}: they pay from about {least:,} queries on, of all languages that search this "
        "corpus; exact search costs less for fewer"
    )


def break_even(documents: int, depth: int, lists: int, probes: int) -> int | None:
    """From how many queries on lists cost less CPU time than exact search; None: from no number.

    All is counted in exact searches of one query, which compare it with every document, at rates
    that were measured (results/scale.md).
    """
    trained = ROUNDS * DOCUMENTS_OF_A_LIST * lists * lists / documents
    query = SCAN * probes / lists + (lists + RESCORE * CANDIDATES * depth) / documents
    return math.ceil(BUILD * (lists + trained) / (1 - query)) if query < 1 else None


def worth(documents: int, depth: int, queries: int) -> bool:
    """Whether lists with the default settings cost less CPU time than exact search."""
    if documents < DOCUMENTS_OF_A_LIST:
        return False
    lists = lists_for(documents, None)
    least = break_even(documents, depth, lists, probes_for(documents, depth, lists, None))
    return least is not None and queries >= least
