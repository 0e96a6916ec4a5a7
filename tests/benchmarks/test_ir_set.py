"""Data sets of ir_datasets: the library itself, on data sets that the test registers with it."""

from __future__ import annotations

import itertools
import json
from typing import NamedTuple

import pytest

from m3eval.benchmarks.ir_set import IrSet
from m3eval.config import check, compose
from m3eval.errors import UserError
from tests import miniatures
from tests.conftest import STAGES
from tests.needs import needs

pytestmark = needs("ir_datasets")
ROWS = miniatures.retrieval_rows()
numbers = itertools.count()


class Titled(NamedTuple):
    doc_id: str
    title: str
    text: str


class Page(NamedTuple):
    doc_id: str
    title: str
    body: str

    def default_text(self):
        return f"{self.title} {self.body}"


def registered(folder, documents=None, lang="en", qrels=None, missing=None, parts=3) -> str:
    """Registers a data set whose files lie in a folder; gives its name.

    The registry belongs to the process, so that every one has another name.
    """
    import ir_datasets
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import TrecQrels, TsvDocs, TsvQueries
    from ir_datasets.util import LocalDownload

    documents = documents or [(Titled, (r["_id"], r["title"], r["text"])) for r in ROWS["corpus"]]
    files = {
        "docs.tsv": ["\t".join(values) for _, values in documents],
        "queries.tsv": [f"{row['_id']}\t{row['text']}" for row in ROWS["queries"]],
        "qrels": qrels or [f"{r['query-id']} 0 {r['corpus-id']} 1" for r in ROWS["qrels"]],
    }
    for name, lines in files.items():
        if name != missing:
            (folder / name).write_text("\n".join(lines) + "\n")
    at = {name: LocalDownload(folder / name) for name in files}
    provided = [
        TsvDocs(at["docs.tsv"], doc_cls=documents[0][0], namespace="x", lang=lang),
        TsvQueries(at["queries.tsv"], namespace="x", lang=lang),
        TrecQrels(at["qrels"], {1: "relevant"}),
    ]
    name = f"m3eval-{next(numbers)}/mini/test"
    ir_datasets.registry.register(name, Dataset(*provided[:parts]))
    return name


def test_a_data_set_is_read_through_the_library(tmp_path):
    found = IrSet(registered(tmp_path), None)
    assert found.languages == ["en"]
    task = found.task("en")
    for _ in range(2):  # a stream that can be read again
        assert [tuple(d) for d in task.corpus.read()] == [
            (row["_id"], row["title"], row["text"]) for row in ROWS["corpus"]
        ]
    assert task.queries == [(row["_id"], row["text"]) for row in ROWS["queries"]]
    assert task.qrels == {row["query-id"]: {row["corpus-id"]: 1} for row in ROWS["qrels"]}
    assert task.corpus.language == "en"


def test_a_document_without_a_text_has_the_library_s(tmp_path):
    name = registered(tmp_path, [(Page, ("d0", "Title", "and body"))], qrels=["q0 0 d0 1"])
    assert list(IrSet(name, None).task("en").corpus.read()) == [("d0", "", "Title and body")]


def test_the_language_is_asked_for_where_the_data_set_says_none(tmp_path):
    name = registered(tmp_path, lang=None)
    with pytest.raises(UserError, match=r"does not say in which language .*benchmark\.language=en"):
        _ = IrSet(name, None).languages
    found = IrSet(name, "ko")
    assert found.languages == ["ko"] and found.task("ko").corpus.language == "ko"
    with pytest.raises(UserError, match="says that its queries are en: leave it out"):
        _ = IrSet(registered(tmp_path), "ko").languages


def test_what_is_wrong_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="nonesuch/x: ir_datasets has no such data set"):
        _ = IrSet("nonesuch/x", None).languages
    with pytest.raises(UserError, match="has no qrels: name one of its subsets"):
        _ = IrSet(registered(tmp_path, parts=2), None).languages
    name = registered(tmp_path, qrels=["q0 0 d0 1", "q0 0 d0 2"])
    with pytest.raises(UserError, match="judgement 2: 'q0' judges 'd0' 2, .*judgement 1 says 1"):
        IrSet(name, None).task("en")
    with pytest.raises(UserError, match="judgement 1: the grade 5000 is no whole number from"):
        IrSet(registered(tmp_path, qrels=["q0 0 d0 5000"]), None).task("en")
    with pytest.raises(UserError, match="ir_datasets cannot read .*: see what it says above"):
        IrSet(registered(tmp_path, qrels=["q0 0 d0 x"]), None).task("en")
    for missing in ("queries.tsv", "docs.tsv"):
        place = tmp_path / missing.partition(".")[0]
        place.mkdir()
        found = IrSet(registered(place, missing=missing), None)
        with pytest.raises(UserError, match=f"cannot read .*FileNotFoundError.*{missing}"):
            list(found.task("en").corpus.read())


def test_it_is_named_by_its_data_set():
    cfg = compose("benchmark=ir_datasets", "benchmark.dataset=beir/scifact/test")
    assert (cfg.benchmark.name, cfg.benchmark.split) == ("beir-scifact-test", "test")
    assert IrSet("beir/scifact/test", None).languages == ["en"]  # the library knows, unread


def test_it_goes_through_the_stages(m3, tmp_path):
    words = ["benchmark=ir_datasets", f"benchmark.dataset={registered(tmp_path)}"]
    words += ["retriever=[dense,bm25s]", f"encoder.checkpoint={m3}", f"output_dir={tmp_path}/out"]
    words += ["runtime.precision=fp32"]
    words += [f"benchmark.text.max_{role}_length=128" for role in ("query", "document")]
    for stage in STAGES.values():
        setup = check(compose(*words))
        stage(setup)
    result = json.loads((setup.layout.folder / "scores/scores.json").read_text())
    assert result["scores"]["nDCG@10"]["bm25s"]["en"] == 100.0
    assert "/mini/test (test, " in result["title"]
