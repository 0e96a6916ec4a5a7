"""Every stage that reads judgements looks whether they belong, with and without an encoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from m3eval.errors import UserError
from m3eval.manifests import Result
from m3eval.records import read
from tests.conftest import words
from tests.needs import needs

DOCUMENTS = [(f"d{i}", words(i, 9)) for i in range(6)]
QUESTIONS = [(f"q{i}", words(i, 5)) for i in range(4)]
SOUND = "".join(f"q{i} 0 d{i} 1\n" for i in range(4))
WRONG = {
    "queries": (SOUND.replace("q", "Q"), "not one of 4 judged queries is among the queries"),
    "documents": (SOUND.replace("d", "D"), "not one of 4 relevant documents is in the corpus"),
    "grades": (SOUND.replace(" 1\n", " 0\n"), "call no document relevant"),
    "nothing": ("", "no judgement"),
}


@pytest.fixture
def stages(pipeline, corpus_of):
    """Runs stages with such judgements; gives the folder of results."""
    corpora = corpus_of({"xx": DOCUMENTS}, {"xx": QUESTIONS})

    def run(qrels: str, *more: str) -> Path:
        (corpora / "xx/qrels.tsv").write_text(qrels)
        return pipeline(
            "benchmark=folder",
            "benchmark.name=mine",
            f"benchmark.root={corpora}",
            "languages=[xx]",
            *more,
        )

    return run


@pytest.mark.parametrize("name", WRONG)
def test_no_stage_goes_on_with_judgements_of_something_else(stages, name, tmp_path):
    hybrid = "retriever=[dense,sparse,dense_sparse]"
    stages(SOUND, hybrid)
    qrels, message = WRONG[name]
    for command in (
        ["embed"],
        ["search", "retriever=[sparse]"],
        ["evaluate", "retriever=[dense]"],
        ["gate", "retriever=[dense]", "gate.write=true", f"gate.file={tmp_path / 'gate.yaml'}"],
        ["compare", "retriever=[dense,sparse]", "resamples=1000"],
        ["tune", hybrid, "hybrid=dense_sparse", f"weights_file={tmp_path / 'weights.yaml'}"],
    ):
        with pytest.raises(UserError, match=message):
            stages(qrels, *command)
    assert not (tmp_path / "gate.yaml").exists() and not (tmp_path / "weights.yaml").exists()


@needs("bm25s", "Stemmer")
@pytest.mark.parametrize("name", WRONG)
def test_neither_without_an_encoder(stages, name):
    qrels, message = WRONG[name]
    more = ["encoder=none", "retriever=[bm25s]", "retriever.bm25s.stemmer=null"]
    stages(SOUND, "search", *more)
    for stage in ("search", "evaluate"):
        with pytest.raises(UserError, match=message):
            stages(qrels, stage, *more)


def test_what_is_lacking_is_said_by_every_stage_and_in_the_result(stages, capsys):
    """The mean is over all that are judged: a query that was never asked scores 0."""
    complete = read(stages(SOUND, "retriever=[dense]") / "scores/scores.json", Result)
    lacking = "q7 0 d0 1\nq8 0 d1 1\nq9 0 d2 1\nq9 0 d77 1\nq6 0 d3 1\n"
    sentences = [
        "xx: 4 of 8 judged queries are not among the queries, for example q7",
        "xx: 1 of 5 relevant documents are not in the corpus, for example d77",
    ]
    for stage in ("embed", "search", "evaluate"):
        capsys.readouterr()
        folder = stages(SOUND + lacking, stage, "retriever=[dense]")
        out = " ".join(capsys.readouterr().out.split())
        assert all(sentence in out for sentence in sentences), stage
    result = read(folder / "scores/scores.json", Result)
    assert result.notes == sentences
    assert all(sentence in (folder / "scores/scores.md").read_text() for sentence in sentences)
    assert result.judged_queries == {"xx": 8}
    halved = complete.scores["R@100"]["dense"]["xx"] / 2
    assert result.scores["R@100"]["dense"]["xx"] == pytest.approx(halved)
