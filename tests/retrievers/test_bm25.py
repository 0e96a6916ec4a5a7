"""BM25 over tokens against the formula written out, bm25s against published figures."""

import json

import numpy as np
import pytest

from m3eval.errors import UserError
from m3eval.retrievers import scores
from m3eval.retrievers.run import read_run
from tests.needs import needs

HAS_BM25S = needs("bm25s", "Stemmer")


def by_bm25s(root, language):
    """The words of stage 1 with bm25s over a folder of corpora."""
    return [
        "search",
        "benchmark=folder",
        "benchmark.name=x",
        f"benchmark.root={root}",
        f"languages=[{language}]",
        "retriever=[bm25s]",
    ]


def int4(n):
    """Lucene's four-bit float of a whole number, and back, bit by bit as SmallFloat states them."""
    if n < 8:
        return n
    shift = n.bit_length() - 4
    code = ((n >> shift) & 7) | ((shift + 1) << 3)
    return ((code & 7) | 8) << ((code >> 3) - 1)


def test_lengths_are_as_coarse_as_lucenes():
    n = np.concatenate([np.arange(100_000), 2 ** np.arange(17, 30) - 1])
    expected = [i if i < 24 else 24 + int4(int(i) - 24) for i in n.tolist()]
    np.testing.assert_array_equal(scores.lucene_length(n), expected)
    assert scores.lucene_length(np.array([39, 40, 41, 42, 8192])).tolist() == [39, 40, 40, 42, 7704]


def plain_bm25(query, documents, k1, b):
    """The formula written out, for one query of tokens against lists of tokens."""
    filled = [tokens for tokens in documents if tokens]
    average = sum(map(len, filled)) / len(filled)
    found = {}
    for i, tokens in enumerate(documents):
        length = len(tokens) if len(tokens) < 24 else 24 + int4(len(tokens) - 24)
        for token in query:
            if tf := tokens.count(token):
                df = sum(token in other for other in filled)
                idf = np.log(1 + (len(filled) - df + 0.5) / (df + 0.5))
                found[i] = found.get(i, 0) + idf * tf / (tf + k1 * (1 - b + b * length / average))
    return found


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["retriever.bm25_tokens.k1=1.2", "retriever.bm25_tokens.b=0.75", "runtime.search_block=7"],
    ],
)
def test_bm25_tokens_is_the_formula(pipeline, mirror, m3, settings):
    """Without stage 0; in one block and in many."""
    from tokenizers import Tokenizer

    from m3eval.benchmarks.miracl import Miracl

    k1, b = (1.2, 0.75) if settings else (0.9, 0.4)
    folder = pipeline(
        "search",
        "evaluate",
        "retriever=[bm25_tokens]",
        "benchmark.text.max_document_length=12",
        *settings,
    )
    assert not (folder / "stores").exists() and not (folder / "scratch").exists()
    task = Miracl(["sw"], "dev", str(mirror), None, None, {}, {}).task("sw")
    tokenizer = Tokenizer.from_file(str(m3 / "tokenizer.json"))
    tokenizer.enable_truncation(12)

    def tokens(text, cut):
        ids = tokenizer.encode(text).ids
        return ids[1:-1][: cut - 2]

    documents = list(task.corpus.read())
    counted = [tokens(f"{document.title}\n{document.text}", 12) for document in documents]
    tokenizer.enable_truncation(128)
    run = read_run(folder / "runs" / "bm25_tokens" / "sw.trec")
    assert len(run) == 9
    for query in task.queries:
        expected = plain_bm25(tokens(query.text, 128), counted, k1, b)
        found = dict(zip(run[query.qid].docids, run[query.qid].scores.tolist(), strict=True))
        assert found == pytest.approx(
            {documents[i].docid: score for i, score in expected.items()}, rel=1e-5
        )


def test_a_bm25_run_is_remade_when_the_texts_change(pipeline, capsys):
    settings = ["search", "retriever=[bm25_tokens]"]
    pipeline(*settings)
    capsys.readouterr()
    pipeline(*settings)
    assert "found finished" in capsys.readouterr().out
    pipeline(*settings, "benchmark.text.document_fields=[text]")
    assert "written" in capsys.readouterr().out


def test_counts_are_held_without_stage_0(pipeline):
    with pytest.raises(
        UserError, match="sw: 60 documents of 131,924 and 9 queries of 482 published"
    ):
        pipeline("search", "retriever=[bm25_tokens]", "benchmark.subset=false")


def test_runs_with_and_without_stores_share_a_table_and_a_hybrid(pipeline):
    """A hybrid of both; stores are asked for by the dense one only."""
    settings = [
        "retriever=[dense,bm25_tokens,dense_bm25]",
        "retriever.dense_bm25.inputs=[dense,bm25_tokens]",
        "~retriever.dense_bm25.weights.bm25",
        "+retriever.dense_bm25.weights.bm25_tokens=0.02",
    ]
    with pytest.raises(UserError, match="corpus-sw does not exist: run `m3eval embed`"):
        pipeline("search", *settings)
    folder = pipeline("embed", "search", "evaluate", *settings)
    found = json.loads((folder / "scores" / "scores.json").read_text())
    assert set(found["scores"]["nDCG@10"]) == {"dense", "bm25_tokens", "dense_bm25"}
    assert found["provenance"]["encoder"]["name"] == "bge_m3" and set(
        found["provenance"]["stores"]
    ) == {
        "corpus-sw",
        "queries-sw",
    }
    runs = {
        name: read_run(folder / "runs" / name / "sw.trec")
        for name in ("dense", "bm25_tokens", "dense_bm25")
    }
    for qid, ranking in runs["dense_bm25"].items():
        one, two = (
            dict(zip(runs[n][qid].docids, runs[n][qid].scores, strict=True))
            for n in ("dense", "bm25_tokens")
        )
        for docid, score in zip(ranking.docids, ranking.scores, strict=True):
            assert score == pytest.approx(one.get(docid, 0) + 0.02 * two.get(docid, 0), abs=1e-5)


@HAS_BM25S
def test_bm25s_without_encoder(pipeline, tmp_path):
    """No store, no encoder: the checkpoint need not exist. `fill` adds what shares no word."""
    words = ["search", "evaluate", "retriever=[bm25s]", f"encoder.checkpoint={tmp_path / 'none'}"]
    folder = pipeline(*words)
    run = read_run(folder / "runs" / "bm25s" / "sw.trec")
    # Questions are parts of their documents.
    assert all(ranking.docids[0] == f"{qid}#0" for qid, ranking in run.items())
    assert all(
        0 < len(ranking.docids) < 60 and (ranking.scores > 0).all() for ranking in run.values()
    )
    found = json.loads((folder / "scores" / "scores.json").read_text())
    assert (
        found["encoder"] == "no encoder" and found["title"] == "MIRACL (dev, subset, whole texts)"
    )
    assert found["provenance"]["encoder"] is None
    assert (
        found["provenance"]["texts"]["corpus-sw"]["count"] == 60
        and found["provenance"]["evaluated_with"]["bm25s"]
    )
    filled = read_run(
        pipeline("search", *words[2:], "retriever.bm25s.fill=true") / "runs" / "bm25s" / "sw.trec"
    )
    for qid, ranking in filled.items():
        n = len(run[qid].docids)
        assert (
            len(ranking.docids) == 60
            and ranking.docids[:n] == run[qid].docids
            and not ranking.scores[n:].any()
        )


@HAS_BM25S
@pytest.mark.parametrize("method", ["lucene", "robertson", "atire", "bm25l", "bm25+"])
def test_every_method_of_bm25s_returns_what_shares_a_word(pipeline, corpus_of, method):
    """With the package's own scores; with `fill`, its whole lists."""
    import bm25s

    documents = {
        "d1": "quartz hums quartz",
        "d2": "quartz glows",
        "d3": "quartz",
        "d4": "felt hats",
        "d5": "",
        "d6": "quartz felt boots glow on long winter nights",
    }
    asked = {"q1": "quartz", "q2": "felt quartz", "q3": "velvet", "q4": ""}
    root = corpus_of({"en": list(documents.items())}, {"en": list(asked.items())})
    words = [
        *by_bm25s(root, "en"),
        f"retriever.bm25s.method={method}",
        "retriever.bm25s.stemmer=null",
        "retriever.bm25s.stop_words=null",
    ]
    index = bm25s.BM25(k1=1.5, b=0.75, method=method)
    index.index([text.split() for text in documents.values()], show_progress=False)
    for fill in (False, True):
        run = read_run(
            pipeline(*words, f"retriever.bm25s.fill={fill}") / "runs" / "bm25s" / "en.trec",
            asked,
        )
        for qid, question in asked.items():
            tokens = [word for word in question.split() if word != "velvet"]
            theirs = index.get_scores(tokens) if tokens else np.zeros(len(documents))
            expected = {
                docid: score
                for (docid, text), score in zip(documents.items(), theirs, strict=True)
                if fill or set(tokens) & set(text.split())
            }
            found = dict(zip(run[qid].docids, run[qid].scores, strict=True))
            assert found == pytest.approx(expected, abs=1e-6)


@HAS_BM25S
def test_bm25s_where_no_document_has_a_word(pipeline, corpus_of, capsys):
    documents, asked = [("d1", "the of"), ("d2", "... !")], [("q1", "the"), ("q2", "walrus")]
    root = corpus_of({"en": documents}, {"en": asked})
    words = by_bm25s(root, "en")
    for fill, docids in ((False, []), (True, ["d2", "d1"])):
        folder = pipeline(*words, f"retriever.bm25s.fill={fill}")
        run = read_run(folder / "runs" / "bm25s" / "en.trec", ["q1", "q2"])
        assert [ranking.docids for ranking in run.values()] == [docids, docids]
        assert "no document has a word that is indexed" in capsys.readouterr().out


@HAS_BM25S
@pytest.mark.parametrize(
    ("language", "change", "message"),
    [
        ("zh", [], "splits at white space, which zh is written without"),
        (
            "en",
            ["retriever.bm25s.stemmer=englisch"],
            "stemmer=englisch: choose auto, null or one of arabic",
        ),
        ("en", ["retriever.bm25s.stop_words=yo"], "stop_words=yo: choose auto, null or one of da"),
        ("en", ["retriever.bm25s.method=bm26"], "method=bm26"),
    ],
)
def test_bm25s_says_what_it_cannot_do(pipeline, corpus_of, language, change, message):
    root = corpus_of({language: [("d1", "dogs run")]}, {language: [("q1", "a dog")]})
    words = by_bm25s(root, language)
    with pytest.raises(UserError, match=message):
        pipeline(*words, *change)


@HAS_BM25S
@pytest.mark.parametrize(
    ("language", "stemmer", "stop_words"),
    [("de", "german", "de"), ("hi", "hindi", None), ("sw", None, None)],
)
def test_what_bm25s_took_for_auto_is_said_and_recorded(
    pipeline, corpus_of, capsys, language, stemmer, stop_words
):
    root = corpus_of({language: [("d1", "ein Hund")]}, {language: [("q1", "Hund")]})
    folder = pipeline(*by_bm25s(root, language))
    path = folder / f"runs/bm25s/{language}.json"
    resolved = json.loads(path.read_text())["resolved"]
    assert resolved == {"stemmer": stemmer, "stop words": stop_words}
    said = f"; stemmer: {stemmer or 'none'}; stop words: {stop_words or 'none'}"
    assert said in capsys.readouterr().out.replace("\n", " ")
    pipeline(*by_bm25s(root, language))
    assert "found finished" in capsys.readouterr().out  # it decides nothing that is not compared


@HAS_BM25S
def test_bm25s_stems_and_stops_in_the_corpus_language(pipeline, corpus_of):
    root = corpus_of(
        {"de": [("d1", "Häuser am See"), ("d2", "und nicht mehr")]},
        {"de": [("q1", "und Haus häuser")]},
    )
    words = by_bm25s(root, "de")
    run = read_run(pipeline(*words) / "runs" / "bm25s" / "de.trec")
    assert run["q1"].docids == ["d1"]  # "und" is a stop word
    run = read_run(
        pipeline(*words, "retriever.bm25s.stop_words=null") / "runs" / "bm25s" / "de.trec"
    )
    assert sorted(run["q1"].docids) == ["d1", "d2"]


@HAS_BM25S
@pytest.mark.parametrize(
    ("benchmark", "language", "tolerance"),
    [
        *(("xquad", language, 0.0016) for language in ("de", "en", "es", "hi", "ru", "th")),
        *(("xquad", language, 0.002) for language in ("ar", "zh")),
        pytest.param("qmsum", "en", 0.001, marks=pytest.mark.slow),
    ],
)
def test_bm25s_lands_on_mtebs_figures(pipeline, shared, benchmark, language, tolerance):
    """MTEB's own baseline of bm25s: English stemmer and stop words for every language.

    Documents that share no word are included.
    """
    name, split = {
        "xquad": ("XQuADRetrieval", "validation"),
        "qmsum": ("LEMBQMSumRetrieval", "test"),
    }[benchmark]
    published = json.loads((shared / "published_scores" / "mteb.json").read_text())["scores"][name][
        "mteb__baseline-bm25s@0_1_10"
    ][split]
    folder = pipeline(
        "search",
        "evaluate",
        "benchmark=folder",
        f"benchmark.name={benchmark}",
        f"benchmark.root={shared / benchmark}",
        "benchmark.merge_equal_queries=true",
        f"languages=[{language}]",
        "retriever=[bm25s]",
        "retriever.bm25s.stemmer=english",
        "retriever.bm25s.stop_words=en",
        "retriever.bm25s.fill=true",
    )
    found = json.loads((folder / "scores" / "scores.json").read_text())["scores"]["nDCG@10"][
        "bm25s"
    ][language]
    expected = published.get(language) or published["default"]
    assert found / 100 == pytest.approx(expected["main_score"], abs=tolerance)
