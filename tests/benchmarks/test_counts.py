"""Counts of a benchmark against those that its authors published."""

import pytest

from m3eval.benchmarks.counts import compare_counts, compare_landing
from m3eval.benchmarks.formats import read_queries
from m3eval.benchmarks.landing import Landing, landing
from m3eval.benchmarks.task import Corpus, Document, Query, Task
from m3eval.benchmarks.texts import TextRules, text_sets
from m3eval.config import check, compose
from m3eval.errors import UserError


def task(n_queries=3, documents=10, published_queries=3):
    return Task(
        "sw",
        Corpus("sw", lambda: iter(()), documents),
        [Query(str(i), "?") for i in range(n_queries)],
        published_queries=published_queries,
    )


def test_counts_as_published_pass_without_remark():
    assert compare_counts(task(), 10, subset=False) is None
    assert compare_counts(task(documents=None, published_queries=None), 7, subset=False) is None


@pytest.mark.parametrize("documents", [9, 11])
def test_other_counts_are_refused_unless_declared(documents):
    with pytest.raises(
        UserError, match=rf"{documents} documents of 10 published.*benchmark.subset=true"
    ):
        compare_counts(task(), documents, subset=False)
    assert f"{documents} documents of 10" in compare_counts(task(), documents, subset=True)


# --- landing points


RULES = TextRules(["title", "text"])
DOCUMENTS = [Document(f"d{i}", "title", "x" * 93) for i in range(10)]  # 100 characters with a joint
POINTS, ASKED = Landing("d0", "d9", 990), Landing("q0", "q1")


def compared(documents=DOCUMENTS, rules=RULES, points=POINTS, asked=ASKED, subset=False):
    corpus = Corpus("sw", lambda: iter(documents), landing=points)
    one = Task("sw", corpus, [Query("q0", "?"), Query("q1", "?")], landing=asked)
    found = [texts.census() for texts in text_sets(one, rules)]
    return compare_landing(one, *found, rules, subset)


def test_the_published_ends_and_length_pass_without_remark():
    assert compared() is None
    assert compared(points=Landing(), asked=Landing()) is None
    # Within a hundredth, as those who counted joined and stripped texts otherwise.
    assert compared(points=Landing(characters=1_000)) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"documents": DOCUMENTS[::-1]},
            r"the first document is 'd9', published is 'd0', the last",
        ),
        ({"documents": [*DOCUMENTS[:9], Document("dx", "t", "x" * 97)]}, r"last document is 'dx'"),
        ({"points": Landing(characters=1_100)}, r"990 characters in all, published are 1,100"),
        ({"points": Landing(characters=900)}, r"990 characters in all, published are 900"),
        ({"asked": Landing("q1")}, r"the first query is 'q0', published is 'q1'"),
        ({"asked": Landing(None, "q7")}, r"the last query is 'q1', published is 'q7'"),
    ],
)
def test_other_texts_of_the_published_number_are_refused_unless_declared(changes, said):
    with pytest.raises(UserError, match=rf"sw: .*{said}.*benchmark.subset=true"):
        compared(**changes)
    assert compared(**changes, subset=True).startswith("sw: ")


def test_lengths_are_compared_of_whole_documents_only():
    wrong = Landing(characters=5_000)
    for rules in (TextRules(["text"]), TextRules(["title", "text"], normalize="mkqa")):
        assert compared(rules=rules, points=wrong) is None
    untitled = Landing(characters=5_000, titles=False)
    with pytest.raises(UserError, match="930 characters"):
        compared(rules=TextRules(["text"]), points=untitled)


def test_published_points_are_known_of_every_language():
    for name, languages in (("miracl", 18), ("mldr", 13), ("narrativeqa", 1), ("mkqa", 25)):
        benchmark = check(compose(f"benchmark={name}")).benchmark
        assert len(benchmark.languages) == languages
        for language in benchmark.languages:
            documents = "documents-test" if name == "narrativeqa" else "documents"
            points = landing(name, documents, "nq" if name == "mkqa" else language)
            assert points.characters > 1_000_000
            assert (
                (points.first is None) == (points.last is None) == (name not in ("miracl", "mkqa"))
            )
    assert landing("miracl", "queries-train", "ko") == Landing()


def test_the_official_queries_are_at_the_published_points(shared):
    """What others state of MIRACL's queries, against the files themselves."""
    folder = shared / "miracl_official/miracl/miracl"
    for language in check(compose("benchmark=miracl")).benchmark.languages:
        name = f"miracl-v1.0-{language}"
        queries = read_queries(folder / name / "topics" / f"topics.{name}-dev.tsv")
        points = landing("miracl", "queries-dev", language)
        assert (queries[0].qid, queries[-1].qid) == (points.first, points.last), language


def test_stage_0_refuses_a_corpus_that_ends_elsewhere(pipeline, mirror):
    """By the whole way: the miniature has as many texts as are said to be published."""
    words = [f"benchmark.root={mirror}", "benchmark.subset=false"]
    words += ["benchmark.source.published_documents={sw: 60}"]
    words += ["benchmark.source.published_queries={sw: 9}"]
    with pytest.raises(UserError, match=r"sw: the first document is '0#0', published is '2#0'"):
        pipeline("embed", *words)
