"""Tokens of texts like MIRACL's, by language: what `m3eval plan` foresees by without the corpus.

    python -m bench.lengths SHARED/data

Documents are of sets at hand with a language's Wikipedia passages, at most 1,000 evenly spaced ones
of each; queries are MIRACL's own. Tokens are those of XLM-R's tokeniser, special tokens included,
of title and text as conf/benchmark/miracl.yaml joins them. Writes m3eval/reference/lengths.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m3eval.benchmarks.formats import read_documents, read_queries
from m3eval.benchmarks.texts import Role, TextRules
from m3eval.config import Setup, compose
from m3eval.console import say
from m3eval.encoders.encoder import Request
from m3eval.files import write_json

# The set whose documents stand for a language's, nearest to MIRACL's first.
SETS = ("miracl_tydi", "tydiqa_goldp", "fa_pquad", "fr_piaf", "ja_jaquad", "zh_cmrc2018", "th_iapp")
PARALLEL = "xquad"  # translated from English: for languages that no other set has
MOST = 1000
RULES = TextRules()
OUT = Path(__file__).resolve().parents[1] / "m3eval" / "reference" / "lengths.json"


def corpora(data: Path, language: str) -> list[tuple[str, Path]]:
    """The corpora of a language at hand, by the name of their set, the nearest first."""
    mirror = data / "miracl_tydi/miracl/miracl-corpus" / f"miracl-corpus-v1.0-{language}"
    paths = [("miracl_tydi", path) for path in sorted(mirror.glob("docs-*.jsonl.gz"))[:1]]
    for name in (*SETS[1:], PARALLEL):
        path = data / name / language / "corpus.jsonl"
        paths += [(name, path)] if path.exists() else []
    return paths


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args(arguments).data
    setup = Setup(
        compose(
            "benchmark=demo",
            "encoder=e5_small_q4",
            "encoder.query_prefix=''",
            "encoder.document_prefix=''",
        )
    )
    encoder = setup.encoder

    def mean(texts: list[str], role: Role) -> float:
        every = max(1, len(texts) // MOST)
        request = Request(texts[::every][:MOST], role, RULES.max_length(role))
        return round(float(np.mean(encoder.tokenize(request).lengths)), 1)

    documents, queries, of = {}, {}, {}
    for language in compose("benchmark=miracl").benchmark.source.languages:
        folder = data / "miracl_official/miracl/miracl" / f"miracl-v1.0-{language}" / "topics"
        (topics,) = folder.glob("*-dev.tsv")
        queries[language] = mean([text for _, text in read_queries(topics)], "query")
        if found := corpora(data, language):
            of[language], path = found[0]
            texts = [RULES.text(document) for document in read_documents(path)]
            documents[language] = mean(texts, "document")
        say(f"{language}: {documents.get(language)} of {of.get(language)}, {queries[language]}")
    write_json(
        OUT,
        {
            "benchmark": "miracl",
            "tokens": "XLM-R's, special tokens included, of title and text, cut at 512",
            "command": "python -m bench.lengths SHARED/data",
            "documents": documents,
            "documents_of": of,
            "queries": queries,
        },
    )


if __name__ == "__main__":
    main()
