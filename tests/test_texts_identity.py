"""The texts that are searched and scored are those that stores and runs were made of.

Their number and hash decide, in every stage; where their files lie, and how a benchmark is judged,
does not.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from m3eval.benchmarks import census, tally
from m3eval.benchmarks.task import Corpus, Document
from m3eval.benchmarks.texts import TextRules, TextSet, document_texts
from m3eval.errors import UserError
from m3eval.layout import RunFiles
from m3eval.manifests import Result, RunManifest
from m3eval.records import read, write
from m3eval.retrievers import finished
from tests.conftest import words
from tests.needs import needs

DOCUMENTS = [(f"d{i}", words(i, 9)) for i in range(12)]
QUESTIONS = [(f"q{i}", words(i, 4)) for i in range(4)]
OTHER = "other texts than configured now"


@pytest.fixture
def corpora(corpus_of) -> Path:
    root = corpus_of({"xx": DOCUMENTS}, {"xx": QUESTIONS})
    rows = [{"qid": qid, "answers": [text.split()[0]]} for qid, text in QUESTIONS]
    (root / "xx/answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture
def stages(pipeline, corpora):
    """Runs stages over the folder of corpora: stages("search", "retriever=[dense]")."""

    def run(*more: str) -> Path:
        given = {word.partition("=")[0] for word in more}
        defaults = [
            "benchmark=folder",
            "benchmark.name=mine",
            f"benchmark.root={corpora}",
            "languages=[xx]",
            "retriever=[dense]",
        ]
        return pipeline(*(word for word in defaults if word.split("=")[0] not in given), *more)

    return run


def shuffle(path: Path) -> None:
    """Turns the order of lines around: the same bytes in all, and the times of before."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    os.utime(path, ns=times)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.tsv"])
def test_texts_that_changed_after_stage_0_are_refused_by_stages_1_and_2(stages, corpora, name):
    stages()
    path = corpora / "xx" / name
    shuffle(path)
    with pytest.raises(UserError, match=rf"(?s)store .*{OTHER}.*texts.[a-z]*-xx.sum"):
        stages("search")
    with pytest.raises(UserError, match=rf"(?s)run .*{OTHER}.*sha256"):
        stages("evaluate")
    shuffle(path)
    stages("search", "evaluate")


def test_another_root_is_told_apart_by_content_and_not_by_path(stages, corpora, tmp_path, capsys):
    stages()
    moved = shutil.copytree(corpora, tmp_path / "moved")
    capsys.readouterr()
    stages(f"benchmark.root={moved}")
    assert capsys.readouterr().out.count("found finished") == 3
    path = moved / "xx/corpus.jsonl"
    path.write_text(path.read_text().replace(DOCUMENTS[3][1], DOCUMENTS[4][1]))
    for stage in ("embed", "search", "evaluate"):
        with pytest.raises(UserError, match=r"texts.*\.sum: "):
            stages(stage, f"benchmark.root={moved}")


@needs("bm25s", "Stemmer")
def test_a_hybrid_is_not_made_of_two_corpora(stages, corpora):
    both = "retriever=[dense,bm25s]"
    stages("embed", "search", both)
    shuffle(corpora / "xx/corpus.jsonl")
    with pytest.raises(UserError, match=OTHER):
        stages("search", "retriever=[dense,bm25s]")
    # And one that was made of two is not scored, whatever it is signed with.
    shuffle(corpora / "xx/corpus.jsonl")
    folder = stages("search", "retriever=[dense,sparse,dense_sparse]")
    run = RunFiles(folder / "runs/dense_sparse/xx.trec")
    made = read(run.manifest, RunManifest)
    content = json.loads(run.manifest.read_text())
    content["inputs"]["dense"]["texts"]["corpus-xx"]["sha256"] = "0" * 64
    write(run.manifest, {key: value for key, value in content.items() if key != "sealed"})
    assert finished.check(run) != made
    with pytest.raises(UserError, match=f"dense_sparse/xx.trec is of {OTHER}"):
        stages("evaluate", "retriever=[dense_sparse]")


@needs("bm25s", "Stemmer")
def test_how_a_benchmark_is_judged_changes_no_text(stages, capsys):
    """Nothing is encoded or searched again for it; the scores are others."""
    both, plain = "retriever=[dense,bm25s]", "retriever.bm25s.stemmer=null"
    folder = stages(both, plain)
    by_documents = read(folder / "scores/scores.json", Result).scores
    capsys.readouterr()
    stages(both, plain, "benchmark.judged_by=answers", "benchmark.metrics=[R@5]")
    out = capsys.readouterr().out
    assert out.count("found finished") == 4
    assert "judged_by: 'qrels' there, 'answers' now" in " ".join(out.split())
    by_answers = read(folder / "scores/scores.json", Result).scores
    assert list(by_answers) == ["R@5"] and list(by_documents) == ["nDCG@10", "R@100"]


def test_records_that_say_how_they_were_judged_are_still_of_the_same_texts(stages):
    """Stores of earlier versions have it among what they are."""
    folder = stages()
    content = json.loads((folder / "stores/corpus-xx/manifest.json").read_text())
    assert content["plan"]["texts"]["source"]["judged_by"] == "qrels"
    stages("embed", "search", "benchmark.judged_by=answers")


def test_runs_of_whole_vectors_are_not_scored_as_compressed_ones(stages):
    stages()
    stages("search", "evaluate", "retriever=[sparse]")
    said = "over whole float16 vectors, and store.dense asks for dense vectors int8"
    with pytest.raises(UserError, match=said):
        stages("evaluate", "store.dense.type=int8")
    with pytest.raises(UserError, match=said):
        stages("evaluate", "retriever=[dense_sparse,dense,sparse]", "store.dense.type=int8")
    stages("evaluate", "retriever=[sparse]", "store.dense.type=int8")  # reads no dense vector


# --- the census that is kept


@pytest.fixture
def counted(monkeypatch):
    """The names of the text sets that were read through."""
    read_through: list[str] = []
    original = tally.Tally.census

    def noting(self, again):
        read_through.append(self.name)
        return original(self, again)

    monkeypatch.setattr(tally.Tally, "census", noting)
    monkeypatch.setattr(census, "SETTLED", 0)  # files of this test are young
    return read_through


def test_a_corpus_is_read_through_once_while_its_files_stay(stages, corpora, counted):
    folder = stages("embed", "search", "evaluate")
    assert counted.count("corpus-xx") == 1
    stages("search")
    assert counted.count("corpus-xx") == 1
    assert len(list((folder.parent / "texts").iterdir())) == 1
    shuffle(corpora / "xx/corpus.jsonl")  # the same size and time of change
    with pytest.raises(UserError, match=OTHER):
        stages("search")
    assert counted.count("corpus-xx") == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: "{",
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace('"count": 12', '"count": 13'),
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "sealed"}),
    ],
)
def test_a_damaged_census_is_made_again(stages, counted, spoil):
    folder = stages("embed", "search")
    (kept,) = (folder.parent / "texts").iterdir()
    whole = kept.read_text()
    kept.write_text(spoil(whole))
    stages("search", "evaluate")
    assert counted.count("corpus-xx") == 2
    assert kept.read_text() == whole


def text_set(path: Path) -> TextSet:
    def documents():
        for line in path.read_text().splitlines():
            yield Document(line, "", line)

    return document_texts(Corpus("xx", documents, files=(path,)), TextRules())


def test_what_decides_a_census_is_part_of_its_name(tmp_path, counted):
    path = tmp_path / "corpus.txt"
    path.write_text("a\nb\n")

    def place(key: str) -> Path:
        return tmp_path / "kept" / f"{key}.json"

    def look(wanted=("z",), rules=(("joint", " "),)):
        return census.reading(text_set(path), set(wanted), dict(rules), place).census()

    found = look()
    assert (found.content.count, found.content.first, found.absent, look()) == (
        2,
        "a",
        {"z"},
        found,
    )
    assert look(wanted=["b"]).absent == frozenset()
    look(rules=[("joint", "\n")])
    assert len(counted) == 3
    # An output folder that cannot be written to costs time, and nothing else.
    nowhere = census.reading(text_set(path), {"q"}, {}, lambda key: Path("/dev/null") / key)
    assert nowhere.census().absent == {"q"}
    assert len(counted) == 4


def test_the_census_of_files_that_changed_a_moment_ago_is_not_kept(tmp_path, counted, monkeypatch):
    """They may change again within one tick of the file system's clock."""
    monkeypatch.setattr(census, "SETTLED", 10**12)
    path = tmp_path / "corpus.txt"
    path.write_text("a\n")
    for _ in range(2):
        census.reading(text_set(path), set(), {}, lambda key: tmp_path / "kept" / key).census()
    assert len(counted) == 2
