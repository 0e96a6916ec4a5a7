"""Comparing runs: marks follow the tests, figures are equal in every file, bad words refused."""

import csv
import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from m3eval.__main__ import main
from m3eval.commands import compare
from m3eval.errors import UserError
from m3eval.layout import ComparisonFiles
from m3eval.metrics import significance
from m3eval.reports import latex, pairwise_tables
from m3eval.reports.pairwise import PairedTests, PairResult
from m3eval.reports.pairwise_tables import show, write
from m3eval.reports.site.comparisons import read_comparison
from tests.conftest import save_m3
from tests.needs import needs, needs_program

METRIC = "benchmark.metrics=[nDCG@10]"


@pytest.fixture
def compared(pipeline, tmp_path):
    """compared('systems=[dense,all]', ...) compares runs of two languages; gives the tables."""
    pipeline("embed", "search", "languages=[sw,yo]")

    def run(*words):
        folder = pipeline("compare", "languages=[yo,sw]", METRIC, "resamples=2000", *words)
        return folder / "comparison"

    run.outputs = tmp_path / "outputs"
    return run


def test_runs_to_tables(compared, capsys):
    folder = compared("systems=[dense,sparse,all]")
    comparison = json.loads((folder / "comparison.json").read_text())
    scores = comparison["scores"]["nDCG@10"]
    assert list(scores["dense"]) == ["average", "sw", "yo"]  # the published order
    assert comparison["baseline"] == "dense"
    assert len(comparison["comparisons"]) == 2 * 3
    rows = {
        (row["system"], row["language"]): row
        for row in csv.DictReader((folder / "comparison.csv").open())
    }
    average = rows["all", "average"]
    assert (average["queries"], average["metric"]) == ("14", "nDCG@10")
    difference = {column: float(rows["all", column]["difference"]) for column in scores["dense"]}
    mean = (difference["sw"] + difference["yo"]) / 2
    assert difference["average"] == pytest.approx(mean, abs=1e-3)
    of_scores = scores["all"]["sw"] - scores["dense"]["sw"]
    assert difference["sw"] == pytest.approx(of_scores, abs=1e-3)
    assert {*comparison["provenance"]["runs"]} == {
        f"{name}/{language}" for name in ("dense", "sparse", "all") for language in ("sw", "yo")
    }
    assert "Holm-corrected over 6 comparisons" in capsys.readouterr().out
    before = (folder / "comparison.csv").read_bytes()
    compared("systems=[dense,sparse,all]")
    assert (folder / "comparison.csv").read_bytes() == before


def test_a_comparison_that_was_edited_is_not_believed(compared, capsys):
    """Neither its numbers nor a table beside it; a table that was not handed on is no damage."""
    folder = compared("systems=[dense,sparse,all]")
    (folder / "comparison.tex").unlink()
    assert main(["info", str(folder), "check=true"]) == 0
    assert "comparison.json" in (said := capsys.readouterr().out) and "whole" in said
    for name, old, new in (("csv", "sparse", "dense"), ("json", '"alpha": 0.05', '"alpha": 0.5')):
        path = folder / f"comparison.{name}"
        before = path.read_text()
        path.write_text(before.replace(old, new, 1))
        with pytest.raises(UserError, match=rf"comparison.{name} is damaged.*compare` again"):
            read_comparison(folder)
        assert main(["info", str(folder), "check=true"]) == 2
        path.write_text(before)
    assert read_comparison(folder).is_sealed


def test_another_encoders_runs(compared, pipeline, m3, tmp_path):
    other = save_m3(tmp_path / "other", seed=1)
    pipeline(
        "embed",
        "search",
        "encoder.name=other",
        f"encoder.checkpoint={other}",
        "retriever=[dense]",
        "languages=[sw,yo]",
    )
    of_encoder = compared("systems=[bge_m3/dense,other/dense,sparse]", "all_pairs=true")
    beside_both = of_encoder.parents[1] / "comparison"
    comparison = json.loads((beside_both / "comparison.json").read_text())
    pairs = {(row["system"], row["against"]) for row in comparison["comparisons"]}
    assert pairs == {
        ("other/dense", "bge_m3/dense"),
        ("sparse", "bge_m3/dense"),
        ("sparse", "other/dense"),
    }
    origin = comparison["provenance"]
    for name in ("bge_m3", "other"):
        encoder = origin["runs"][f"{name}/dense/sw"]["encoder"]
        assert origin["encoders"][encoder]["name"] == name
    corpus = origin["runs"]["sparse/sw"]["texts"]["corpus-sw"]
    assert origin["texts"][corpus]["count"] == 60
    assert len(origin["texts"]) == 4  # six runs are over two corpora and their queries


@needs("openvino")
def test_a_system_that_was_encoded_in_8_bits_is_named(compared, pipeline):
    words = ["encoder.name=small", "retriever=[dense]", "languages=[sw,yo]"]
    pipeline("embed", "search", "runtime.precision=int8", *words)
    folder = compared("systems=[dense,small/dense]").parents[1] / "comparison"
    said = "small/dense: computed in 8 bits (runtime.precision=int8)"
    assert said in (folder / "comparison.md").read_text()
    assert json.loads((folder / "comparison.json").read_text())["in_int8"] == [said]


def test_what_differs_besides_the_system_is_refused_or_accepted_by_name(
    compared, pipeline, tmp_path
):
    words = [
        "retriever=[dense,multi_vector]",
        "languages=[sw,yo]",
        f"output_dir={tmp_path / 'short'}",
        "benchmark.text.max_document_length=64",
        "benchmark.retrieval.rerank_depth=30",
    ]
    folder = pipeline("embed", "search", *words)
    systems = f"systems=[dense,{folder}/runs/dense]"
    with pytest.raises(UserError, match=r"(?s)128 in dense, 64 in /.*accept=\[max_length\]"):
        compared(systems)
    markdown = (compared(systems, "accept=[max_length]") / "comparison.md").read_text()
    accepted = "accepted difference: sw: texts.corpus-sw.max_length: 128 in dense, 64"
    assert accepted in markdown
    with pytest.raises(UserError, match=r"depth: 200 in multi_vector, 30 in /"):
        compared(f"systems=[multi_vector,{folder}/runs/multi_vector]", "accept=[max_length]")
    # The metric looks deeper than one of them went.
    with pytest.raises(UserError, match=r"depth: 1000 in dense, 200 in multi_vector"):
        compared("systems=[dense,multi_vector]", "benchmark.metrics=[R@500]")


def test_another_corpus_or_split_is_refused(compared, pipeline, mirror, tmp_path):
    other = shutil.copytree(mirror, tmp_path / "mirror")
    (other / "miracl/miracl-corpus/miracl-corpus-v1.0-sw/docs-11.jsonl.gz").unlink()
    words = [
        f"benchmark.root={other}",
        "languages=[sw,yo]",
        f"output_dir={tmp_path / 'fewer'}",
        "retriever=[dense]",
    ]
    folder = pipeline("embed", "search", *words)
    said = r"(?s)corpus-sw.count: 60 in dense, 55 in .*corpus-sw.sha256"
    with pytest.raises(UserError, match=said) as error:
        compared(f"systems=[dense,{folder}/runs/dense]")
    assert "corpus-yo" not in str(error.value)
    with pytest.raises(UserError, match=r"split: 'dev' in dense, 'train' configured"):
        compared("systems=[dense,all]", "benchmark.split=train", "benchmark.source.split=dev")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["systems=[dense]"], "give two or more different"),
        (["systems=[dense,dense]"], "give two or more different"),
        (["systems=[dense,all]", "baseline=sparse"], "baseline=sparse is none of"),
        (["systems=[dense,bm25]"], "does not exist: run `m3eval search`"),
        (["test=wilcoxon"], "test=wilcoxon: takes permutation or t"),
        (["alpha=5"], "alpha=5: takes a number between 0 and 1"),
        (["resamples=1000", "alpha=0.001"], "Set resamples="),
        (["retriever.all.weights.sparse=0.9"], "un `m3eval search` again"),
    ],
)
def test_bad_settings_say_what_to_do(compared, words, said):
    with pytest.raises(UserError, match=said):
        compared(*words)


LEVELS = {"base_line": 0.5, "A&B_100%": 0.9, "~worse^#$": 0.1}
SETTINGS = {
    "test": "permutation",
    "resamples": 2000,
    "confidence": 0.95,
    "alpha": 0.05,
    "seed": 0,
}


def made_up_tests(baseline="base_line"):
    """Tests of a system that is far better in sw and one that is far worse; in yo all are alike.

    Every language has 30 queries. Without a baseline all pairs are compared.
    """
    rng = np.random.default_rng(0)
    per_query = {}
    for language in ("sw", "yo"):
        noise = rng.uniform(0, 0.01, (3, 30))
        for row, (system, level) in zip(noise, LEVELS.items(), strict=True):
            scores = (level if language == "sw" else 0.5) + row
            per_query[system, language] = {
                "nDCG@10": {str(i): score for i, score in enumerate(scores)}
            }
    pairs = [("A&B_100%", "base_line"), ("~worse^#$", "base_line")]
    if baseline is None:
        pairs.append(("~worse^#$", "A&B_100%"))
    family = []
    for system, against in pairs:
        sw, yo = (
            significance.paired_differences(
                per_query[system, language]["nDCG@10"], per_query[against, language]["nDCG@10"]
            )
            for language in ("sw", "yo")
        )
        for column, differences in {"sw": [sw], "yo": [yo], "average": [sw, yo]}.items():
            paired = significance.paired(differences, resamples=2000)
            family.append(PairResult("nDCG@10", system, against, column, paired, 1.0))
    corrected = significance.holm([pair.paired.p for pair in family])
    return PairedTests(
        title="t {x} \\ <y>",
        metrics=["nDCG@10"],
        languages=["sw", "yo"],
        systems=list(LEVELS),
        baseline=baseline,
        per_query=per_query,
        results=[pair._replace(p_holm=p) for pair, p in zip(family, corrected, strict=True)],
        settings=SETTINGS,
        whole_texts=["c_d"],
        notes=["a_b"],
        provenance={},
    )


def test_a_narrow_terminal_shows_every_score_in_full(capsys):
    systems = [f"encoder_{i:02}/dense_sparse" for i in range(13)]
    languages = [f"l{i:02}" for i in range(18)]
    per_query = {
        (system, language): {"nDCG@10": {"q": (7 * i + j) / 120}}
        for i, system in enumerate(systems)
        for j, language in enumerate(languages)
    }
    wide = replace(
        made_up_tests(),
        systems=systems,
        baseline=systems[0],
        languages=languages,
        per_query=per_query,
        results=[],
    )
    show(wide)
    out = capsys.readouterr().out
    assert "…" not in out
    lines = [line for line in out.splitlines() if "│" in line]
    assert all(len(line) <= 80 for line in lines)
    rows = [line.replace("│", " ").split() for line in lines if line.startswith("│ encoder_12")]
    shown = [float(cell) for _, *cells in rows for cell in cells]
    scores = [(84 + j) / 1.2 for j in range(18)]
    assert shown == [float(f"{score:.1f}") for score in (np.mean(scores), *scores)]


def test_marks_follow_the_tests(tmp_path, capsys):
    tests, all_pairs = made_up_tests(), made_up_tests(None)
    marks = {system: tests.mark("nDCG@10", system, "sw") for system in LEVELS}
    assert marks == {"base_line": "", "A&B_100%": "▲", "~worse^#$": "▼"}
    letters = {system: all_pairs.mark("nDCG@10", system, "sw") for system in LEVELS}
    assert letters == {"base_line": "c", "A&B_100%": "a,c", "~worse^#$": ""}
    assert tests.mark("nDCG@10", "A&B_100%", "yo") == ""
    at_alpha = replace(tests, results=[pair._replace(p_holm=0.05) for pair in tests.results])
    assert at_alpha.mark("nDCG@10", "A&B_100%", "sw") == ""  # the corrected p is what counts
    write(tests, ComparisonFiles(tmp_path))
    markdown = (tmp_path / "comparison.md").read_text()
    assert "| A&B_100% | **70.5**<sup>▲</sup> | **90.5**<sup>▲</sup> | 50.5 |" in markdown
    assert "better, worse than base_line" in markdown
    tex = (tmp_path / "comparison.tex").read_text()
    assert r"A\&B\_100\% & \textbf{70.5}$^{\uparrow}$ & \textbf{90.5}$^{\uparrow}$ & 50.5" in tex
    assert r"accepted difference: a\_b" in tex
    show(tests)
    out = capsys.readouterr().out
    assert all(part in out for part in ("90.5 ▲", "/0/", "accepted difference: a_b"))


def test_escape():
    assert latex.escape("a_b & 5% #1 {x} $y^2~\\") == (
        r"a\_b \& 5\% \#1 \{x\} \$y\textasciicircum{}2\textasciitilde{}\textbackslash{}"
    )


@needs_program("pdflatex", "apt-get install texlive-latex-base texlive-latex-recommended")
@pytest.mark.parametrize("baseline", ["base_line", None])
def test_latex_compiles(tmp_path, baseline):
    write(made_up_tests(baseline), ComparisonFiles(tmp_path))
    lines = [
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}",
        r"\begin{document}",
        r"\input{comparison}",
        r"\end{document}",
    ]
    (tmp_path / "paper.tex").write_text("\n".join(lines))
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert ended.returncode == 0 and (tmp_path / "paper.pdf").exists(), ended.stdout[-3000:]


def test_differences_that_do_not_vary_have_no_p(tmp_path, capsys):
    """A third more of every question's documents, but for rounding."""
    made_up = made_up_tests()
    per_query = {
        ("plain", "en"): {"R@100": {"1": 0.0, "2": 1 / 3, "3": 2 / 3}},
        ("stemmed", "en"): {"R@100": {"1": 1 / 3, "2": 2 / 3, "3": 1.0}},
    }
    scores = [per_query[system, "en"]["R@100"] for system in ("stemmed", "plain")]
    differences = significance.paired_differences(*scores)
    assert np.ptp(differences) > 0
    paired = significance.paired([differences], test="t")
    tests = replace(
        made_up,
        metrics=["R@100"],
        languages=["en"],
        systems=["plain", "stemmed"],
        baseline="plain",
        per_query=per_query,
        results=[PairResult("R@100", "stemmed", "plain", "en", paired, paired.p)],
        settings=SETTINGS | {"test": "t"},
    )
    write(tests, ComparisonFiles(tmp_path))
    (row,) = json.loads((tmp_path / "comparison.json").read_text())["comparisons"]
    assert row["p"] is row["p_holm"] is row["effect"] is row["low"] is None
    assert row["remark"] == "differences do not vary"
    assert tests.mark("R@100", "stemmed", "en") == ""
    show(tests)
    for said in ((tmp_path / "comparison.md").read_text(), capsys.readouterr().out):
        assert "differences do not vary (stemmed - plain en)" in said
        assert "nan" not in said


def test_tables_are_shown_after_they_are_written(compared, monkeypatch):
    """A terminal that cannot show them costs no file."""

    def broken(tests):
        raise UnicodeEncodeError("ascii", "▲", 0, 1, "ordinal not in range")

    monkeypatch.setattr(pairwise_tables, "show", broken)
    with pytest.raises(UnicodeEncodeError):
        compared("systems=[dense,all]")
    (written,) = compared.outputs.glob("*/*/comparison")
    assert {path.suffix for path in written.iterdir()} == {".md", ".tex", ".csv", ".json"}


def test_systems_that_found_nothing_are_not_compared():
    """Where questions without documents are left out, none may be left."""
    per_query = {(name, "en"): {"R@20": {}} for name in ("a", "b")}
    with pytest.raises(UserError, match="en: no question counts for a and b"):
        compare._differences(per_query, "a", "b", "en", "R@20")
