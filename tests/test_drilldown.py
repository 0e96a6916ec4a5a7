"""Single queries: evidence adds up to scores, places are right, files keep within their limit."""

import base64
import copy
import gzip
import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from m3eval import seals
from m3eval.benchmarks.task import Corpus, Document, Query, Task
from m3eval.commands import drilldown, reasons, site, surfaces
from m3eval.errors import UserError
from m3eval.reports.site import columns
from m3eval.reports.site.drilldown import SHORTEST, LanguageWriter
from m3eval.reports.site.queries import (
    Evidence,
    LanguageView,
    RankedList,
    SharedTerm,
    Span,
    TokenPair,
)
from m3eval.reports.site.results import read_results
from m3eval.retrievers.run import read_run

DEMO = Path(__file__).resolve().parents[1] / "m3eval/benchmarks/demo_texts"


def data(path):
    """What a file of the drill-down holds."""
    text = path.read_text(encoding="utf-8")
    value = json.loads("[" + text[len("m3eval.put(") : -3] + "]")[1]
    if not isinstance(value, str):
        return value
    return list(unpacked(json.loads(gzip.decompress(base64.b64decode(value)))))


def unpacked(column):
    """The values of a column, one after the other."""
    match column:
        case list():
            yield from column
        case {"digits": digits, "ints": ints}:
            yield from (value / 10**digits for value in ints)
        case {"counts": counts, "items": items}:
            rest = unpacked(items)
            yield from (list(itertools.islice(rest, n)) for n in counts)
        case {"records": n, "fields": fields}:
            parts = {name: unpacked(values) for name, values in fields.items()}
            yield from ({name: next(values) for name, values in parts.items()} for _ in range(n))


RECORDS = [
    {
        "qid": "1",
        "grades": [None, 2],
        "lists": {"bm25": [23.45, 0.1], "dense": []},
        "why": {},
        "spans": [[{"at": 1}], []],
    },
    {
        "qid": "„2“",
        "grades": [],
        "lists": {"bm25": [], "dense": [-0.98768]},
        "why": {},
        "spans": [],
    },
    {"qid": "", "grades": [0], "lists": {"bm25": [0.0], "dense": []}, "why": {}, "spans": [[]]},
]


def test_records_come_back_from_columns():
    (wide,) = unpacked(columns.columns([RECORDS]))
    assert wide[1]["lists"].pop("dense") == [-0.9877]  # four digits
    expected = copy.deepcopy(RECORDS)
    expected[1]["lists"].pop("dense")
    assert wide == expected
    assert columns.packed(RECORDS) == columns.packed(copy.deepcopy(RECORDS))
    assert columns.columns([31.0, 0.1234]) == {"digits": 3, "ints": [31000, 123]}


@pytest.fixture
def folder(pipeline):
    return pipeline()


def test_evidence_adds_up_to_scores(folder, monkeypatch):
    monkeypatch.setattr(reasons, "SHOWN", 1000)
    runs = drilldown.open_runs(folder, [])
    (language,) = drilldown.language_views([runs], depth=4)
    docids = {qid: language.shown(qid) for qid in language.queries}
    texts = language.texts({docid for of_query in docids.values() for docid in of_query})
    explainer = reasons.Explainer(runs, language.task)
    sparse = read_run(folder / "runs/sparse/sw.trec")
    multi_vector = read_run(folder / "runs/multi_vector/sw.trec")
    places = 0
    for (qid, docid), evidence in explainer.explain(docids, language.queries, texts).items():
        mean = np.mean([pair.product for pair in evidence.pairs])
        assert mean == pytest.approx(score_of(multi_vector, qid, docid), abs=1e-4)
        total = sum(term.in_query * term.in_document for term in evidence.terms)
        assert total == pytest.approx(score_of(sparse, qid, docid), abs=1e-4)
        for term in evidence.terms:
            assert texts[docid][slice(*term.span)].strip() == term.word.strip("▁")
            places += 1
        for pair in evidence.pairs:
            assert is_within(language.queries[qid], pair.in_query)
            assert is_within(texts[docid], pair.in_document)
    assert places > 50


def score_of(run, qid, docid):
    """A document's score in a run; 0 where the run does not have it."""
    return dict(zip(run[qid].docids, run[qid].scores, strict=True)).get(docid, 0)


def is_within(text, span):
    return span is None or 0 <= span.start < span.end <= len(text)


def test_component_scores_and_ranks_are_those_of_the_run(folder):
    (language,) = drilldown.language_views([drilldown.open_runs(folder, [])], depth=3)
    for system, by_query in language.lists.items():
        run = read_run(folder / f"runs/{system}/sw.trec")
        for qid, ranked in by_query.items():
            assert ranked.docids == run[qid].docids[:3]
            for docid, rank in ranked.ranks.items():
                assert run[qid].docids[rank - 1] == docid
                assert docid in language.task.qrels[qid]
    for ranked in language.lists["all"].values():
        dense, sparse, multi_vector = map(np.array, ranked.components.values())
        total = dense + 0.3 * sparse + multi_vector
        np.testing.assert_allclose(total, ranked.scores, atol=1e-5)


def test_the_site_holds_them(folder, tmp_path):
    site.build([], [folder], tmp_path / "site", depth=3)
    files = tmp_path / "site/data"
    (entry,) = data(files / "drilldown-miracl.js")
    (index,) = data(files / f"{entry['key']}.js")
    assert entry["queries"] == entry["with_lists"] == len(index["queries"]) == 9
    assert [system["name"] for system in index["systems"]] == list(SYSTEMS)
    queries = data(files / f"{entry['key']}-q000.js")
    documents = data(files / f"{entry['key']}-d000.js")
    run = read_run(folder / "runs/all/sw.trec")
    for query in queries:
        ranked, ranking = query["lists"]["all"], run[query["qid"]]
        shown = [documents[query["documents"][place]]["docid"] for place in ranked["places"]]
        assert shown == ranking.docids[:3]
        np.testing.assert_allclose(ranked["scores"], ranking.scores[:3], atol=1e-3)
        assert list(ranked["components"]) == ["dense", "sparse", "multi_vector"]
    assert "drilldown/miracl.html" in (tmp_path / "site/benchmark/miracl.html").read_text()


def test_runs_of_other_texts_are_refused(folder, tmp_path):
    path = folder / "runs/dense/sw.json"
    manifest = json.loads(path.read_text())
    manifest["texts"]["corpus-sw"]["max_length"] = 99
    path.write_text(json.dumps(seals.sealed(manifest)))
    with pytest.raises(UserError, match="other texts"):
        site.build([], [folder], tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_runs_may_be_older_than_a_setting_but_not_than_its_end(folder):
    path = folder / "scores/scores.json"
    content = json.loads(path.read_text())
    del content["provenance"]["config"]["store"]
    path.write_text(json.dumps(seals.sealed(content)))
    assert drilldown.open_runs(folder, []).setup.cfg.store.dense.type == "float16"
    content["provenance"]["config"]["runtime"]["of_old"] = 1
    path.write_text(json.dumps(seals.sealed(content)))
    with pytest.raises(UserError, match=r"does not have here \(runtime.of_old\)"):
        drilldown.open_runs(folder, [])


def test_a_folder_that_was_renamed_is_refused(folder):
    shutil.move(folder, folder.parent / "renamed")
    with pytest.raises(UserError, match="keep that folder's name"):
        drilldown.open_runs(folder.parent / "renamed", [])


SYSTEMS = {
    "dense": (1, 0, 0),
    "sparse": (0, 1, 0),
    "multi_vector": (0, 0, 1),
    "dense_sparse": (1, 0.3, 0),
    "all": (1, 0.3, 1),
}
COMPONENTS = ("dense", "sparse", "multi_vector")


def prose(rng, n, characters):
    """Texts of the demo's English words and made-up ones, in no order.

    gzip leaves 0.45 of them; of NarrativeQA's documents it leaves 0.43.
    """
    rows = [json.loads(line) for line in (DEMO / "en.jsonl").read_text().splitlines()]
    words = " ".join(value for row in rows for value in row.values()).split()
    words += ["".join(letters) for letters in rng.choice([*"etaoinshrdlu"], (len(words), 7))]
    for row in rng.integers(0, len(words), (n, characters // 4 + 20)):
        yield " ".join([words[i] for i in row])[:characters]


def made_up(n, documents, characters, own):
    """A language with n queries, each with 12 candidates that five systems order.

    Candidates are a query's own, or chosen from a small corpus.
    """
    rng = np.random.default_rng(0)
    texts = {f"d{i}": text for i, text in enumerate(prose(rng, documents, characters))}
    queries = [Query(f"q{i:05}", text) for i, text in enumerate(prose(rng, n, 45))]
    corpus = Corpus("en", lambda: (Document(docid, "", text) for docid, text in texts.items()))
    judged = {query.qid: f"d{12 * i if own else i % documents}" for i, query in enumerate(queries)}
    task = Task("en", corpus, queries, qrels={qid: {docid: 1} for qid, docid in judged.items()})
    levels = rng.choice([0, 0.33, 0.36, 0.39, 0.43, 0.5, 0.63, 1], (len(SYSTEMS), n)).tolist()
    scores = {
        name: {"nDCG@10": dict(zip(judged, row, strict=True))}
        for name, row in zip(SYSTEMS, levels, strict=True)
    }
    lists = {name: {} for name in SYSTEMS}
    for i, (qid, relevant) in enumerate(judged.items()):
        candidates = np.arange(12 * i, 12 * i + 12)
        if not own:
            candidates = rng.choice(documents, 12, replace=False)
        noise = rng.normal(size=(12, 1)) + rng.normal(size=(12, 3))
        parts = np.abs([0.8, 0.15, 0.7] + 0.04 * noise)  # [candidates, components]
        for name, weights in SYSTEMS.items():
            total = parts @ np.array(weights)
            best = np.argsort(-total)[:5]
            components = {
                part: parts[best, j].tolist() for j, part in enumerate(COMPONENTS) if weights[j]
            }
            lists[name][qid] = RankedList(
                [f"d{j}" for j in candidates[best]],
                total[best].tolist(),
                components if len(components) > 1 else {},
                {relevant: int(rng.integers(1, 50))},
            )
    return LanguageView(task, "nDCG@10", list(SYSTEMS), scores, lists, texts.items)


class MadeUpEvidence:
    """Five terms and five pairs anywhere in every document."""

    def explain(self, docids, queries, texts):
        rng, evidence = np.random.default_rng(0), {}
        for qid, of_query in docids.items():
            words = [Span(*match.span()) for match in re.finditer(r"\S+", queries[qid])]
            for docid in of_query:
                asked = [words[i] for i in rng.permutation(len(words))[: reasons.SHOWN]]
                starts = rng.integers(0, len(texts[docid]) - 9, (2, len(asked))).tolist()
                given, matched = ([Span(at, at + 2 + at % 7) for at in row] for row in starts)
                weights = rng.random(len(asked)).tolist()
                terms = [
                    SharedTerm(queries[qid][slice(*word)], word.start / 7, weight, span)
                    for word, weight, span in zip(asked, weights, given, strict=True)
                ]
                pairs = map(TokenPair, asked, matched, weights[::-1])
                evidence[qid, docid] = Evidence(terms, list(pairs))
        return evidence


# What the README promises: NarrativeQA's 10,557 questions in 30 MB, here and below by their share.
@pytest.mark.parametrize("n", [1_000, pytest.param(10_557, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("documents", "characters", "own", "at_least"),
    [
        # NarrativeQA's own case: few texts that many queries share.
        pytest.param(355, 3300, False, 3300, id="summaries"),
        # The worst case: no text belongs to two queries.
        pytest.param(12, 600, True, 350, id="documents"),
    ],
)
def test_every_query_keeps_its_lists(tmp_path, n, documents, characters, own, at_least):
    limit = 30_000_000 * n // 10_557
    language = made_up(n, documents * n if own else documents, characters, own)
    writer = LanguageWriter(tmp_path / "made_up", "en", language, {"e": MadeUpEvidence()}, limit)
    entry = writer.write()
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.js")]
    assert (entry["queries"], entry["with_lists"], entry["bytes"]) == (n, n, sum(sizes))
    assert sum(sizes) <= limit
    assert max(sizes) < 1_000_000  # what a click loads
    assert entry["characters"] >= at_least
    assert (entry["cut"] == 0) == (entry["characters"] == characters)
    (index,) = data(tmp_path / "made_up/en.js")
    last = index["queries"][-1]
    queries = data(tmp_path / f"made_up/en-q{last['file']:03}.js")
    query = next(query for query in queries if query["qid"] == last["qid"])
    ranked = language.lists["all"][last["qid"]]
    for docid, place in zip(ranked.docids, query["lists"]["all"]["places"], strict=True):
        number = query["documents"][place]
        document = data(tmp_path / f"made_up/en-d{number // 100:03}.js")[number % 100]
        assert document["docid"] == docid
        assert len(document["text"]) + document["more"] == characters
        evidence = query["why"]["e"]["documents"][place]
        assert len(evidence["terms"]) == len(evidence["pairs"]) == reasons.SHOWN
    for name, values in ranked.components.items():
        np.testing.assert_allclose(query["lists"]["all"]["components"][name], values, atol=5e-5)


def test_queries_that_differ_most_stay_where_there_is_too_little_room(tmp_path):
    language = made_up(1_000, 12_000, 600, own=True)
    writer = LanguageWriter(
        tmp_path / "made_up", "en", language, {"e": MadeUpEvidence()}, 1_000_000
    )
    entry = writer.write()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.js")) <= 1_000_000
    (index,) = data(tmp_path / "made_up/en.js")
    with_lists = {query["qid"] for query in index["queries"] if query["file"] >= 0}
    assert 300 <= len(with_lists) == entry["with_lists"] < len(index["queries"]) == 1_000
    assert entry["characters"] == SHORTEST
    without = {*language.queries} - with_lists
    assert min(map(language.spread, with_lists)) >= max(map(language.spread, without))


def test_weights_are_weighed_as_the_hybrid_does(folder):
    (result,) = read_results([folder / "scores/scores.json"])
    both, three = surfaces.surfaces(drilldown.open_runs(folder, []), result.name, 0.5)
    assert (both.name, three.name) == ("dense_sparse", "all")
    scores = {
        name: pytest.approx(by_language["sw"], abs=1e-3)
        for name, by_language in result.content.scores["nDCG@10"].items()
    }
    assert both.score == scores["dense_sparse"]
    assert three.score == scores["all"]
    # A component that has all the weight orders as it does alone.
    (none_dense, *_, all_dense) = both.rows
    assert none_dense[1][0].value != all_dense[1][0].value
    assert (all_dense[0], all_dense[1][0].value) == (1.0, scores["dense"])
    cells = dict(three.rows)
    assert list(cells) == [0.0, 0.5, 1.0]
    assert cells[0.0][0].value == scores["multi_vector"]
    assert cells[1.0][0].value == scores["dense"]
    assert cells[1.0][1] is None  # 1 and 0.5 exceed 1
    there = [cell for row in cells.values() for cell in row if cell]
    assert {cell.value for cell in there if cell.best} == {max(cell.value for cell in there)}
