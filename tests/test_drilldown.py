"""Single queries: reasons add up to scores, places in texts are right, bytes keep within their limit."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from m3eval import drilldown, site
from m3eval.benchmarks.task import Corpus, Document, Query, Task, TextRules
from m3eval.errors import UserError
from m3eval.reports.site.drilldown import Writer
from m3eval.retrievers.run import read_run


def data(path):
    text = path.read_text(encoding="utf-8")
    return json.loads("[" + text[len("m3eval.put(") : -3] + "]")[1]


@pytest.fixture
def folder(pipeline):
    return pipeline()


def test_reasons_add_up_to_scores(folder, monkeypatch):
    monkeypatch.setattr(drilldown, "SHOWN", 1000)
    opened = drilldown.open_folder(folder, [])
    (language,) = drilldown.languages([opened], depth=4)
    asked = {qid: language.shown(qid) for qid in language.queries}
    texts = language.texts({docid for docids in asked.values() for docid in docids})
    found = drilldown.Explainer(opened, language.task).explain(asked, language.queries, texts)
    runs = {name: read_run(folder / f"runs/{name}/sw.trec") for name in ("sparse", "multi_vector")}
    checked = 0
    for (qid, docid), evidence in found.items():
        scores = {name: dict(zip(run[qid].docids, run[qid].scores, strict=True)) for name, run in runs.items()}
        assert np.mean([product for *_, product in evidence.pairs]) == pytest.approx(scores["multi_vector"][docid], abs=1e-4)
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
    (language,) = drilldown.languages([drilldown.open_folder(folder, [])], depth=3)
    runs = {name: read_run(folder / f"runs/{name}/sw.trec") for name in language.systems}
    for name, by_qid in language.found.items():
        for qid, found in by_qid.items():
            assert found.docids == runs[name][qid].docids[:3]
            for docid, rank in found.ranks.items():
                assert runs[name][qid].docids[rank - 1] == docid and docid in language.task.qrels[qid]
            if name == "all":
                weighted = found.components
                total = np.array(weighted["dense"]) + 0.3 * np.array(weighted["sparse"]) + np.array(weighted["multi_vector"])
                np.testing.assert_allclose(total, found.scores, atol=1e-5)


def test_the_site_holds_them(folder, tmp_path):
    site.build([], [folder], tmp_path / "site", depth=3)
    (entry,) = data(tmp_path / "site/data/drilldown-miracl.js")
    index = data(tmp_path / "site/data" / f"{entry['key']}.js")
    assert entry["queries"] == entry["with_lists"] == 9 == len(index["queries"])
    assert [one["name"] for one in index["systems"]] == ["dense", "sparse", "multi_vector", "dense_sparse", "all"]
    queries, documents = (data(tmp_path / "site/data" / f"{entry['key']}-{part}000.js") for part in "qd")
    run = read_run(folder / "runs/all/sw.trec")
    for qid, one in queries.items():
        assert [documents[line[0]][0] for line in one["lists"][4]] == run[qid].docids[:3]
    assert "drilldown/miracl.html" in (tmp_path / "site/benchmark/miracl.html").read_text()


def test_runs_of_other_texts_are_refused(folder, tmp_path):
    path = folder / "runs/dense/sw.json"
    manifest = json.loads(path.read_text())
    manifest["texts"]["corpus-sw"]["max_length"] = 99
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="other texts"):
        site.build([], [folder], tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_folder_that_was_renamed_is_refused(folder):
    shutil.move(folder, folder.parent / "renamed")
    with pytest.raises(UserError, match="keep that folder's name"):
        drilldown.open_folder(folder.parent / "renamed", [])


def made_up(n, systems, depth):
    """A language with n queries, each with documents of its own as long as MIRACL's."""
    rng = np.random.default_rng(0)
    text = "word " * 100
    queries = [Query(f"q{i}", f"what is the made-up thing number {i} that somebody asked about?") for i in range(n)]
    corpus = Corpus("en", lambda: (Document(f"d{i}", "title", text) for i in range(2 * n)))
    task = Task("en", corpus, queries, qrels={query.qid: {f"d{i}": 1} for i, query in enumerate(queries)})
    scores = {name: {"nDCG@10": dict(zip([q.qid for q in queries], rng.random(n).tolist(), strict=True))} for name in systems}
    found = {
        name: {
            f"q{i}": drilldown.Found(
                [f"d{(i + j * k) % (2 * n)}" for j in range(depth)], rng.random(depth).tolist(), {}, {f"d{i}": 1}
            )
            for i in range(n)
        }
        for k, name in enumerate(systems, start=1)
    }
    folders = [SimpleNamespace(setup=SimpleNamespace(rules=TextRules()))]
    return drilldown.Language(task, "nDCG@10", list(systems), scores, found, folders, depth)


class MadeUpReasons:
    def explain(self, asked, queries, texts):
        evidence = drilldown.Evidence(
            [("word", 0.1234, 0.2345, (10, 14))] * drilldown.SHOWN, [((1, 5), (20, 24), 0.8765)] * drilldown.SHOWN
        )
        return {(qid, docid): evidence for qid, docids in asked.items() for docid in docids}


def test_bytes_keep_within_their_limit(tmp_path):
    language = made_up(10_557, ["dense", "sparse", "multi_vector", "dense_sparse", "all"], 5)
    entry = Writer(tmp_path / "made_up", language, {"e": MadeUpReasons()}, 30_000_000).write()
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.js"))
    assert size < 30_000_000 and entry["with_lists"] > 2000
    index = data(tmp_path / "made_up/en.js")
    assert len(index["queries"]) == 10_557
    kept = {qid: file for qid, _, _, file in index["queries"] if file >= 0}
    assert len(kept) == entry["with_lists"]
    assert min(map(language.spread, kept)) >= max(language.spread(qid) for qid in language.queries if qid not in kept)
    assert max(path.stat().st_size for path in tmp_path.rglob("*.js")) < 2_500_000
    queries, numbers = data(tmp_path / f"made_up/en-q{max(kept.values()):03}.js"), set()
    for one in queries.values():
        numbers |= {line[0] for found in one["lists"] for line in found}
    for number in numbers:
        docid, text, more = data(tmp_path / f"made_up/en-d{number // 100:03}.js")[number % 100]
        assert docid.startswith("d") and text.startswith("title\nword") and more == 0


def test_weights_are_weighed_as_the_hybrid_does(folder, tmp_path):
    (result,) = site.read_results([folder / "scores/scores.json"])
    step = 0.5
    found = {one["name"]: one for one in site.surfaces(drilldown.open_folder(folder, []), result, step)}
    assert list(found) == ["dense_sparse", "all"]
    both, three = found["dense_sparse"], found["all"]
    scores = result.content["scores"]["nDCG@10"]
    # one weight alone is the component's own order
    assert both["score"] == pytest.approx(scores["dense_sparse"]["sw"], abs=1e-3)
    assert three["score"] == pytest.approx(scores["all"]["sw"], abs=1e-3)
    (first,), (last,) = both["rows"][0][1], both["rows"][-1][1]
    assert both["rows"][-1][0] == 1.0 and last["value"] == pytest.approx(scores["dense"]["sw"], abs=1e-3)
    assert first["value"] != last["value"]
    assert [weight for weight, _ in three["rows"]] == [0.0, 0.5, 1.0]
    assert three["rows"][0][1][0]["value"] == pytest.approx(scores["multi_vector"]["sw"], abs=1e-3)  # 0, 0 and 1
    assert three["rows"][2][1][0]["value"] == pytest.approx(scores["dense"]["sw"], abs=1e-3)  # 1, 0 and 0
    assert three["rows"][2][1][1] is None  # 1, 0.5 and -0.5
    assert max(cell["value"] for _, cells in three["rows"] for cell in cells if cell) == next(
        cell["value"] for _, cells in three["rows"] for cell in cells if cell and cell["best"]
    )
