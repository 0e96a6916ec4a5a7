"""Single queries: reasons add up to scores, places in texts are right, bytes keep within their limit."""

import base64
import copy
import gzip
import itertools
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from m3eval.benchmarks.task import Corpus, Document, Query, Task
from m3eval.benchmarks.texts import TextRules
from m3eval.commands import drilldown, reasons, site
from m3eval.errors import UserError
from m3eval.reports.site import columns
from m3eval.reports.site.drilldown import SHORTEST, Writer
from m3eval.retrievers.run import read_run

DEMO = Path(__file__).resolve().parents[1] / "m3eval/benchmarks/demo_texts"


def data(path):
    """What a file of the drill-down holds."""
    text = path.read_text(encoding="utf-8")
    value = json.loads("[" + text[len("m3eval.put(") : -3] + "]")[1]
    return (
        list(unpacked(json.loads(gzip.decompress(base64.b64decode(value)))))
        if isinstance(value, str)
        else value
    )


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


def test_reasons_add_up_to_scores(folder, monkeypatch):
    monkeypatch.setattr(drilldown, "SHOWN", 1000)
    opened = drilldown.open_runs(folder, [])
    (language,) = drilldown.languages([opened], depth=4)
    asked = {qid: language.shown(qid) for qid in language.queries}
    texts = language.texts({docid for docids in asked.values() for docid in docids})
    found = reasons.Explainer(opened, language.task).explain(asked, language.queries, texts)
    runs = {name: read_run(folder / f"runs/{name}/sw.trec") for name in ("sparse", "multi_vector")}
    checked = 0
    for (qid, docid), evidence in found.items():
        scores = {
            name: dict(zip(run[qid].docids, run[qid].scores, strict=True))
            for name, run in runs.items()
        }
        assert np.mean([product for *_, product in evidence.pairs]) == pytest.approx(
            scores["multi_vector"][docid], abs=1e-4
        )
        total = sum(ours * theirs for _, ours, theirs, _ in evidence.terms)
        assert total == pytest.approx(scores["sparse"].get(docid, 0), abs=1e-4)
        for word, _, _, span in evidence.terms:
            start, end = span
            assert texts[docid][start:end].strip() == word.strip("▁")
            checked += 1
        for asked_span, given_span, _ in evidence.pairs:
            for span, text in ((asked_span, language.queries[qid]), (given_span, texts[docid])):
                assert span is None or 0 <= span[0] < span[1] <= len(text)
    assert checked > 50


def test_component_scores_and_ranks_are_those_of_the_run(folder):
    (language,) = drilldown.language_views([drilldown.open_runs(folder, [])], depth=3)
    runs = {name: read_run(folder / f"runs/{name}/sw.trec") for name in language.systems}
    for name, by_qid in language.lists.items():
        for qid, found in by_qid.items():
            assert found.docids == runs[name][qid].docids[:3]
            for docid, rank in found.ranks.items():
                assert (
                    runs[name][qid].docids[rank - 1] == docid and docid in language.task.qrels[qid]
                )
            if name == "all":
                weighted = found.components
                total = (
                    np.array(weighted["dense"])
                    + 0.3 * np.array(weighted["sparse"])
                    + np.array(weighted["multi_vector"])
                )
                np.testing.assert_allclose(total, found.scores, atol=1e-5)


def test_the_site_holds_them(folder, tmp_path):
    site.build([], [folder], tmp_path / "site", depth=3)
    (entry,) = data(tmp_path / "site/data/drilldown-miracl.js")
    (index,) = data(tmp_path / "site/data" / f"{entry['key']}.js")
    assert entry["queries"] == entry["with_lists"] == 9 == len(index["queries"])
    assert [one["name"] for one in index["systems"]] == [
        "dense",
        "sparse",
        "multi_vector",
        "dense_sparse",
        "all",
    ]
    queries, documents = (
        data(tmp_path / "site/data" / f"{entry['key']}-{part}000.js") for part in "qd"
    )
    run = read_run(folder / "runs/all/sw.trec")
    for one in queries:
        found, ranking = one["lists"]["all"], run[one["qid"]]
        assert [
            documents[one["documents"][place]]["docid"] for place in found["places"]
        ] == ranking.docids[:3]
        np.testing.assert_allclose(found["scores"], ranking.scores[:3], atol=1e-3)
        assert [*found["components"]] == ["dense", "sparse", "multi_vector"]
    assert "drilldown/miracl.html" in (tmp_path / "site/benchmark/miracl.html").read_text()


def test_runs_of_other_texts_are_refused(folder, tmp_path):
    path = folder / "runs/dense/sw.json"
    manifest = json.loads(path.read_text())
    manifest["texts"]["corpus-sw"]["max_length"] = 99
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="other texts"):
        site.build([], [folder], tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_runs_may_be_older_than_a_setting_but_not_than_its_end(folder):
    path = folder / "scores/scores.json"
    content = json.loads(path.read_text())
    del content["provenance"]["config"]["store"]
    path.write_text(json.dumps(content))
    assert drilldown.open_runs(folder, []).setup.cfg.store.dense.type == "float16"
    content["provenance"]["config"]["runtime"]["of_old"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"exist no longer \(runtime.of_old\)"):
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
    """Texts of the demo's English words and made-up ones in no order; gzip leaves 0.45 of documents, 0.43 of NarrativeQA's."""
    rows = [json.loads(line) for line in (DEMO / "en.jsonl").read_text().splitlines()]
    words = " ".join(value for row in rows for value in row.values()).split()
    words += ["".join(letters) for letters in rng.choice([*"etaoinshrdlu"], (len(words), 7))]
    for row in rng.integers(0, len(words), (n, characters // 4 + 20)):
        yield " ".join([words[i] for i in row])[:characters]


def made_up(n, documents, characters, own):
    """A language with n queries, each with 12 candidates, of its own or of a small corpus, which five systems order."""
    rng = np.random.default_rng(0)
    texts = list(prose(rng, documents, characters))
    queries = [Query(f"q{i:05}", text) for i, text in enumerate(prose(rng, n, 45))]
    corpus = Corpus("en", lambda: (Document(f"d{i}", "", text) for i, text in enumerate(texts)))
    judged = {query.qid: f"d{12 * i if own else i % documents}" for i, query in enumerate(queries)}
    task = Task("en", corpus, queries, qrels={qid: {docid: 1} for qid, docid in judged.items()})
    levels = rng.choice([0, 0.33, 0.36, 0.39, 0.43, 0.5, 0.63, 1], (len(SYSTEMS), n)).tolist()
    scores = {
        name: {"nDCG@10": dict(zip(judged, row, strict=True))}
        for name, row in zip(SYSTEMS, levels, strict=True)
    }
    found = {name: {} for name in SYSTEMS}
    for i, (qid, relevant) in enumerate(judged.items()):
        candidates = (
            np.arange(12 * i, 12 * i + 12) if own else rng.choice(documents, 12, replace=False)
        )
        parts = np.abs(
            [0.8, 0.15, 0.7] + 0.04 * (rng.normal(size=(12, 1)) + rng.normal(size=(12, 3)))
        )
        for name, weights in SYSTEMS.items():
            total = parts @ np.array(weights)
            best = np.argsort(-total)[:5]
            components = {
                part: parts[best, j].tolist() for j, part in enumerate(COMPONENTS) if weights[j]
            }
            found[name][qid] = drilldown.FoundList(
                [f"d{j}" for j in candidates[best]],
                total[best].tolist(),
                components if len(components) > 1 else {},
                {relevant: int(rng.integers(1, 50))},
            )
    folders = [SimpleNamespace(setup=SimpleNamespace(rules=TextRules()))]
    return drilldown.LanguageView(task, "nDCG@10", list(SYSTEMS), scores, found, folders, 5)


def spans(starts):
    return [(start, start + 2 + start % 7) for start in starts]


class MadeUpReasons:
    """Five terms and five pairs anywhere in every document."""

    def explain(self, asked, queries, texts):
        rng, found = np.random.default_rng(0), {}
        for qid, docids in asked.items():
            words = [match.span() for match in re.finditer(r"\S+", queries[qid])]
            for docid in docids:
                some = [words[i] for i in rng.permutation(len(words))[: reasons.SHOWN]]
                at, to = rng.integers(0, len(texts[docid]) - 9, (2, len(some))).tolist()
                weight = rng.random(len(some)).tolist()
                found[qid, docid] = reasons.Evidence(
                    [
                        (queries[qid][slice(*span)], span[0] / 7, *one)
                        for span, *one in zip(some, weight, spans(at), strict=True)
                    ],
                    [
                        (span, *one)
                        for span, *one in zip(some, spans(to), weight[::-1], strict=True)
                    ],
                )
        return found


# What the README promises: NarrativeQA's 10,557 questions in 30 MB, here and below by their share.
@pytest.mark.parametrize("n", [1_000, pytest.param(10_557, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("documents", "characters", "own", "at_least"),
    [
        pytest.param(
            355, 3300, False, 3300, id="summaries"
        ),  # NarrativeQA's own: few texts that many queries share
        pytest.param(
            12, 600, True, 350, id="documents"
        ),  # the worst: no text belongs to two queries
    ],
)
def test_every_query_keeps_its_lists(tmp_path, n, documents, characters, own, at_least):
    limit = 30_000_000 * n // 10_557
    language = made_up(n, documents * n if own else documents, characters, own)
    entry = Writer(tmp_path / "made_up", language, {"e": MadeUpReasons()}, limit).write()
    files = list(tmp_path.rglob("*.js"))
    size = sum(path.stat().st_size for path in files)
    assert (entry["queries"], entry["with_lists"], entry["bytes"]) == (n, n, size) and size <= limit
    assert max(path.stat().st_size for path in files) < 1_000_000  # what a click loads
    assert entry["characters"] >= at_least and (entry["cut"] == 0) == (
        entry["characters"] == characters
    )
    (index,) = data(tmp_path / "made_up/en.js")
    last = index["queries"][-1]
    (one,) = [
        one
        for one in data(tmp_path / f"made_up/en-q{last['file']:03}.js")
        if one["qid"] == last["qid"]
    ]
    found = language.lists["all"][last["qid"]]
    for docid, place in zip(found.docids, one["lists"]["all"]["places"], strict=True):
        number = one["documents"][place]
        kept = data(tmp_path / f"made_up/en-d{number // 100:03}.js")[number % 100]
        assert kept["docid"] == docid and len(kept["text"]) + kept["more"] == characters
        assert all(
            len(reasons) == reasons.SHOWN
            for reasons in one["why"]["e"]["documents"][place].values()
        )
    for name, values in found.components.items():
        np.testing.assert_allclose(one["lists"]["all"]["components"][name], values, atol=5e-5)


def test_queries_that_differ_most_stay_where_there_is_too_little_room(tmp_path):
    language = made_up(1_000, 12_000, 600, own=True)
    entry = Writer(tmp_path / "made_up", language, {"e": MadeUpReasons()}, 1_000_000).write()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.js")) <= 1_000_000
    (index,) = data(tmp_path / "made_up/en.js")
    kept = {one["qid"] for one in index["queries"] if one["file"] >= 0}
    assert (
        300 <= len(kept) == entry["with_lists"] < 1_000 == len(index["queries"])
        and entry["characters"] == SHORTEST
    )
    assert min(map(language.spread, kept)) >= max(
        language.spread(qid) for qid in language.queries if qid not in kept
    )


def test_weights_are_weighed_as_the_hybrid_does(folder, tmp_path):
    (result,) = site.read_results([folder / "scores/scores.json"])
    step = 0.5
    found = {
        one["name"]: one for one in site.surfaces(drilldown.open_runs(folder, []), result, step)
    }
    assert list(found) == ["dense_sparse", "all"]
    both, three = found["dense_sparse"], found["all"]
    scores = result.content["scores"]["nDCG@10"]
    # one weight alone is the component's own order
    assert both["score"] == pytest.approx(scores["dense_sparse"]["sw"], abs=1e-3)
    assert three["score"] == pytest.approx(scores["all"]["sw"], abs=1e-3)
    (first,), (last,) = both["rows"][0][1], both["rows"][-1][1]
    assert both["rows"][-1][0] == 1.0 and last["value"] == pytest.approx(
        scores["dense"]["sw"], abs=1e-3
    )
    assert first["value"] != last["value"]
    assert [weight for weight, _ in three["rows"]] == [0.0, 0.5, 1.0]
    assert three["rows"][0][1][0]["value"] == pytest.approx(
        scores["multi_vector"]["sw"], abs=1e-3
    )  # 0, 0 and 1
    assert three["rows"][2][1][0]["value"] == pytest.approx(
        scores["dense"]["sw"], abs=1e-3
    )  # 1, 0 and 0
    assert three["rows"][2][1][1] is None  # 1, 0.5 and -0.5
    assert max(cell["value"] for _, cells in three["rows"] for cell in cells if cell) == next(
        cell["value"] for _, cells in three["rows"] for cell in cells if cell and cell["best"]
    )
