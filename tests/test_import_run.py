"""`m3eval import-run`: a run of others beside ours in one comparison, one gate and one site."""

import json
from pathlib import Path

import pytest

from m3eval.__main__ import main
from m3eval.commands import recorded
from m3eval.files import sha256
from m3eval.manifests import RunManifest
from m3eval.records import read
from m3eval.reports.results import read_scores
from m3eval.retrievers.run import read_run

MARK = "theirs was made elsewhere and imported from"
WORD = "+retriever.theirs.file="


def carry_out(name, words, *more):
    return main([name, *words, *more])


def test_a_foreign_run_and_ours_in_one_comparison_gate_and_site(foreign, capsys):
    folder, layout, words = foreign
    both, file = "languages=[sw,yo]", "{language}.json"
    assert carry_out("import-run", words, both, f"run={file}", "name=theirs") == 0
    assert MARK in capsys.readouterr().out
    manifest = read(layout.run("theirs", "sw").manifest, RunManifest)
    assert manifest.foreign is not None
    assert manifest.foreign.path == "sw.json"
    assert manifest.foreign.sha256 == sha256(folder / "sw.json")
    assert not layout.run("theirs", "sw").cost.exists()  # it is no cost of a search

    # The same lists as ours, so the same scores; ours stay in the tables.
    result = read_scores(layout.scores.json)
    scores = result.scores["nDCG@10"]
    assert scores["theirs"] == scores["sparse"] and {*scores} > {"dense", "dense_sparse"}
    assert sum(MARK in note for note in result.notes) == 1
    assert MARK in layout.scores.markdown.read_text()

    compared = [both, "systems=[dense,theirs,sparse]", "resamples=1000"]
    assert carry_out("compare", words, *compared) == 0
    tests = json.loads(layout.comparison.named("json").read_text())
    rows = {(row["system"], row["language"], row["metric"]): row for row in tests["comparisons"]}
    theirs, ours = (rows[name, "average", "nDCG@10"] for name in ("theirs", "sparse"))
    assert theirs["difference"] == ours["difference"] != 0
    assert len(tests["made_elsewhere"]) == 1
    for suffix in ("md", "tex"):
        assert "made elsewhere" in layout.comparison.named(suffix).read_text()

    gated = [both, "retriever=[dense]", f"{WORD}{file}", "gate.file=gate.yaml"]
    assert carry_out("gate", words, *gated, "gate.write=true") == 0
    assert "made_elsewhere: true" in (folder / "gate.yaml").read_text()
    assert carry_out("gate", words, *gated) == 0
    assert "made elsewhere: theirs" in (layout.gate / "gate.md").read_text()
    lists = json.loads((folder / "sw.json").read_text())  # they send a worse run
    worse = {qid: {docid: -score for docid, score in of.items()} for qid, of in lists.items()}
    (folder / "sw.json").write_text(json.dumps(worse))
    assert carry_out("search", words, *gated[:3]) == 0
    assert carry_out("gate", words, *gated) == 1
    assert "wrong  nDCG@10 theirs sw" in capsys.readouterr().out

    assert carry_out("evaluate", words, *gated[:3]) == 0
    assert main(["site", "results=[]", f"runs=[{layout.folder}]"]) == 0
    pages = "".join(path.read_text() for path in (folder / "site").rglob("*.html"))
    assert "theirs" in pages and "made elsewhere" in pages
    data = "".join(path.read_text() for path in (folder / "site/data").rglob("*.js"))
    assert "theirs" in data


def test_a_result_tells_the_words_that_make_it_again(foreign):
    _, layout, words = foreign
    given = ["languages=[sw]", "run={language}.json", "name=theirs"]
    assert carry_out("import-run", words, *given) == 0
    command = recorded.command(read_scores(layout.scores.json).provenance)
    assert '+retriever.theirs.file="{language}.json"' in command.words and not command.gone
    setup = recorded.configuration(layout.scores.json)
    assert setup.cfg.retriever.theirs.file == "{language}.json"


def test_it_is_imported_again_only_where_the_file_is_another(foreign, capsys):
    folder, layout, words = foreign
    given = ["languages=[sw]", "run=sw.json", "name=theirs"]
    assert carry_out("import-run", words, *given) == 0
    capsys.readouterr()
    assert carry_out("import-run", words, *given) == 0
    assert "found finished" in capsys.readouterr().out
    lists = json.loads((folder / "sw.json").read_text())
    lists.pop(next(iter(lists)))
    (folder / "sw.json").write_text(json.dumps(lists))
    assert carry_out("import-run", words, *given) == 0
    said = capsys.readouterr().out
    assert "found finished" not in said
    assert "1 of 9 judged queries are not in sw.json and score 0" in said
    assert read_scores(layout.scores.json).judged_queries["sw"] == 9


def test_mteb_s_predictions_have_a_subset_a_language(foreign):
    folder, layout, words = foreign
    lists = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("sw", "yo")}
    subsets = {name: {"dev": of} for name, of in lists.items()}
    (folder / "mteb.json").write_text(json.dumps(subsets))
    given = ["languages=[sw,yo]", "run=mteb.json", "name=theirs", "subset={language}"]
    assert carry_out("import-run", words, *given) == 0
    scores = read_scores(layout.scores.json).scores["nDCG@10"]
    assert scores["theirs"] == scores["sparse"]


def swapped(lists):
    return {f"x{qid}": of for qid, of in lists.items()}


def with_a_stranger(lists):
    qid = next(iter(lists))
    return lists | {qid: lists[qid] | {"stranger": 1.0}}


def with_another_query(lists):
    return lists | {"unknown": {"0#0": 1.0}}


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (swapped, 2, "not one of the benchmark's 9 judged queries is in the run"),
        (with_a_stranger, 2, "1 of 61 documents of the run are not in the corpus corpus-sw, for"),
        (with_another_query, 0, "1 of 10 queries in sw.json are not the benchmark's and are left"),
    ],
)
def test_ids_are_held_against_the_benchmark_s(foreign, capsys, change, status, said):
    folder, layout, words = foreign
    lists = json.loads((folder / "sw.json").read_text())
    (folder / "sw.json").write_text(json.dumps(change(lists)))
    given = ["languages=[sw]", "run=sw.json", "name=theirs"]
    assert carry_out("import-run", words, *given) == status
    assert said in capsys.readouterr().out
    assert layout.run("theirs", "sw").manifest.exists() is (status == 0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["run=sw.json", "name=dense"], "dense is a retriever of m3eval"),
        (["run=sw.json", "name=a.b"], "name=a.b: takes letters"),
        (["run=[sw.json,yo.json]", "name=theirs"], "takes one file"),
        (["run=none.json", "name=theirs"], "the run none.json cannot be read"),
        (["run=.", "name=theirs"], ". is a folder: a file is needed here"),
        (["run=sw.json", "name=theirs", "retriever=[dense]"], "m3eval import-run searches with"),
        (["run=sw.json", "name=theirs", "subset=sw"], "has no subsets and splits"),
        (["run=sw.json"], "name="),
    ],
)
def test_mistakes_are_said(foreign, capsys, given, said):
    _, _, words = foreign
    assert carry_out("import-run", words, "languages=[sw]", *given) == 2
    out = capsys.readouterr().out
    assert said in out and "Traceback" not in out


def test_lists_are_cut_at_the_depth_and_that_is_said(foreign, capsys):
    _, layout, words = foreign
    given = ["languages=[sw]", "run=sw.json", "name=theirs", "benchmark.retrieval.depth=5"]
    given.append("benchmark.retrieval.rerank_depth=5")
    assert carry_out("import-run", words, *given, "overwrite=true") == 0
    assert "documents, cut at 5" in capsys.readouterr().out
    assert {len(of.docids) for of in read_run(layout.run("theirs", "sw").trec).values()} == {5}


def test_systems_takes_it_as_a_system_without_an_encoder(foreign):
    folder, _, _ = foreign
    lists = {"q": {"d": 1.0}}
    (folder / "c/en").mkdir(parents=True)
    (folder / "c/en/corpus.jsonl").write_text('{"docid": "d", "text": "a b"}\n')
    (folder / "c/en/queries.tsv").write_text("q\ta\n")
    (folder / "c/en/qrels.tsv").write_text("q 0 d 1\n")
    (folder / "run.json").write_text(json.dumps(lists))
    given = [
        "benchmark=folder",
        "benchmark.name=c",
        "benchmark.root=c",
        "runtime.threads=1",
        "resamples=1000",
        "benchmark.metrics=[nDCG@10]",
        "systems=[latent_sparse/bm25_tokens,theirs]",
        f"{WORD}run.json",
    ]
    assert main(["systems", *given]) == 0
    tests = json.loads(Path("outputs/c/comparison/comparison.json").read_text())
    assert {*tests["scores"]["nDCG@10"]} == {"latent_sparse/bm25_tokens", "theirs"}
    assert Path("outputs/c/no_encoder/runs/theirs/en.trec").exists()
