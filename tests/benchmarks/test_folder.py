"""Your own corpora: the plain layout and BEIR's, one language and many, documents and answers."""

import json

import pytest

from m3eval.benchmarks.folder import Folder
from m3eval.errors import UserError


def write(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


PLAIN = {
    "corpus_jsonl": '{"docid": "d1", "title": "T", "text": "x"}\n',
    "queries_tsv": "q1\twhy\n",
    "qrels_tsv": "q1 0 d1 1\n",
}
BEIR = {
    "corpus_jsonl": '{"_id": "d1", "title": "T", "text": "x"}\n',
    "queries_jsonl": '{"_id": "q1", "text": "why"}\n',
    "qrels__test_tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
}


@pytest.mark.parametrize("files", [PLAIN, BEIR])
def test_both_layouts_give_the_same_task(tmp_path, files):
    write(tmp_path / "hi", **files)
    write(tmp_path / "th", **files)
    (tmp_path / "LICENSE").write_text("not a language")
    folder = Folder(str(tmp_path), "test", "qrels", None)
    assert folder.languages == ["hi", "th"]
    task = folder.task("th")
    assert [d.docid for d in task.corpus.read()] == ["d1"] and task.queries[0] == ("q1", "why")
    assert task.qrels == {"q1": {"d1": 1}} and task.corpus.name == "th"


def test_a_folder_that_holds_a_corpus_is_one_language(tmp_path):
    write(tmp_path / "mine", **PLAIN)
    folder = Folder(str(tmp_path / "mine"), "test", "qrels", None)
    assert folder.languages == ["mine"] and folder.task("mine").qrels == {"q1": {"d1": 1}}


def test_languages_share_a_corpus_and_are_judged_by_answers(tmp_path):
    write(tmp_path / "corpus-en", corpus_jsonl=PLAIN["corpus_jsonl"])
    write(
        tmp_path / "sw",
        queries_tsv="q1\tkwa nini\n",
        answers_jsonl=json.dumps({"qid": "q1", "answers": ["x"]}) + "\n",
    )
    folder = Folder(str(tmp_path), "test", "answers", "corpus-en")
    assert folder.languages == ["sw"]
    task = folder.task("sw")
    assert task.corpus.name == "corpus-en" and task.answers == {"q1": ["x"]} and task.qrels is None


def test_messages_name_the_missing_file(tmp_path):
    with pytest.raises(UserError, match="there is no queries.tsv or queries.jsonl"):
        _ = Folder(str(tmp_path), "test", "qrels", None).languages
    write(tmp_path / "hi", queries_tsv="q1\twhy\n")
    with pytest.raises(UserError, match="has no corpus.jsonl .*set benchmark.corpus="):
        Folder(str(tmp_path), "test", "qrels", None).task("hi")
    write(tmp_path / "hi", corpus_jsonl=PLAIN["corpus_jsonl"])
    with pytest.raises(UserError, match=r"has no qrels.tsv or qrels/dev.tsv"):
        Folder(str(tmp_path), "dev", "qrels", None).task("hi")


def test_the_last_of_equal_questions_stays(tmp_path):
    """As in MTEB: the last query of each text stays, in its place and with its own judgements."""
    write(
        tmp_path / "en",
        corpus_jsonl=PLAIN["corpus_jsonl"],
        queries_tsv="q1\twhy\nq2\thow\nq3\twhy\n",
        qrels_tsv="q1 0 d1 1\nq2 0 d1 1\nq3 0 d2 1\n",
        answers_jsonl="".join(
            json.dumps({"qid": qid, "answers": [qid]}) + "\n" for qid in ("q1", "q2", "q3")
        ),
    )
    task = Folder(str(tmp_path), "test", "qrels", None, merge_equal_queries=True).task("en")
    assert task.queries == [("q2", "how"), ("q3", "why")] and task.qrels == {
        "q2": {"d1": 1},
        "q3": {"d2": 1},
    }
    task = Folder(str(tmp_path), "test", "answers", None, merge_equal_queries=True).task("en")
    assert task.answers == {"q2": ["q2"], "q3": ["q3"]} and task.qrels is None
    assert len(Folder(str(tmp_path), "test", "qrels", None).task("en").queries) == 3
