"""What a retriever reads, over stores that a test has written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from m3eval.benchmarks.texts import TextSet
from m3eval.retrievers.run import Run
from m3eval.retrievers.sources import Sources
from m3eval.runtime import settle
from m3eval.stores.store import Store


def stored_sources(
    corpus: Store,
    queries: Store,
    block: int,
    scratch: Path,
    runs: Mapping[str, Run] | None = None,
    threads: int = 1,
) -> Sources:
    """Sources of language xx without texts and encoder, in fp32 on the CPU.

    Args:
        corpus: the store of the documents.
        queries: the store of the queries.
        block: documents that are searched at once.
        scratch: the folder for what is written on the way.
        runs: finished runs, by retriever; read when a retriever asks for one.
        threads: CPU threads.
    """
    stores = {"corpus": corpus, "queries": queries}
    finished = {} if runs is None else runs
    return Sources(
        "xx",
        "xx",
        TextSet("corpus", "document", lambda: iter(()), 99),
        TextSet("queries", "query", lambda: iter(()), 99),
        open_store=lambda texts: stores[texts.name],
        run=lambda name: finished[name],
        encoder=None,
        runtime=settle("cpu", "fp32", threads, 4096, 100, block, "512m"),
        scratch=scratch,
    )
