"""Comparing runs: marks follow the tests, figures are equal in every file, bad words refused."""

import csv
import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from m3eval.errors import UserError
from m3eval.layout import ComparisonFiles
from m3eval.metrics import significance
from m3eval.reports import latex
from m3eval.reports.pairwise import PairedTests, PairResult
from m3eval.reports.pairwise_tables import show, write
from tests.needs import needs_program

METRIC = "benchmark.metrics=[nDCG@10]"


@pytest.fixture
def compared(pipeline):
    """compared('systems=[dense,all]', ...) compares runs of two languages; gives the tables."""
    pipeline("embed", "search", "languages=[sw,yo]")

    def run(*words):
        return (
            pipeline("compare", "languages=[yo,sw]", METRIC, "resamples=2000", *words)
            / "comparison"
        )

    return run


def test_runs_to_tables(compared, capsys):
    folder = compared("systems=[dense,sparse,all]")
    found = json.loads((folder / "comparison.json").read_text())
    assert list(found["scores"]["nDCG@10"]["dense"]) == [
        "average",
        "sw",
        "yo",
    ]  # the published order, not the asked one
    assert found["baseline"] == "dense" and len(found["comparisons"]) == 2 * 3
    per_query = {}
    for row in csv.DictReader((folder / "comparison.csv").open()):
        per_query[row["system"], row["language"]] = row
    average = per_query["all", "average"]
    assert (average["queries"], average["metric"]) == ("14", "nDCG@10")
    assert float(average["difference"]) == pytest.approx(
        np.mean([float(per_query["all", lang]["difference"]) for lang in ("sw", "yo")]), abs=1e-3
    )
    scores = found["scores"]["nDCG@10"]
    assert scores["all"]["sw"] - scores["dense"]["sw"] == pytest.approx(
        float(per_query["all", "sw"]["difference"]), abs=1e-3
    )
    assert set(found["provenance"]["runs"]) == {
        f"{name}/{lang}" for name in ("dense", "sparse", "all") for lang in ("sw", "yo")
    }
    assert "Holm-corrected over 6 comparisons" in capsys.readouterr().out
    again = (folder / "comparison.csv").read_bytes()
    compared("systems=[dense,sparse,all]")
    assert (folder / "comparison.csv").read_bytes() == again


def test_another_encoders_runs(compared, pipeline, m3, tmp_path):
    from tests.conftest import save_m3

    other = save_m3(tmp_path / "other", seed=1)
    pipeline(
        "embed",
        "search",
        "encoder.name=other",
        f"encoder.checkpoint={other}",
        "retriever=[dense]",
        "languages=[sw,yo]",
    )
    folder = (
        compared("systems=[bge_m3/dense,other/dense,sparse]", "all_pairs=true").parents[1]
        / "comparison"
    )  # beside both
    found = json.loads((folder / "comparison.json").read_text())
    pairs = {(row["system"], row["against"]) for row in found["comparisons"]}
    assert pairs == {
        ("other/dense", "bge_m3/dense"),
        ("sparse", "bge_m3/dense"),
        ("sparse", "other/dense"),
    }
    origin = found["provenance"]
    identities = {
        origin["encoders"][origin["runs"][f"{name}/dense/sw"]["encoder"]]["name"]
        for name in ("bge_m3", "other")
    }
    assert identities == {"bge_m3", "other"}
    texts = origin["texts"][origin["runs"]["sparse/sw"]["texts"]["corpus-sw"]]
    assert (
        texts["count"] == 60 and len(origin["texts"]) == 4
    )  # of 6 runs: two corpora and their queries


def test_what_differs_besides_the_system_is_refused_or_accepted_by_name(
    compared, pipeline, tmp_path
):
    words = [
        "retriever=[dense,multi_vector]",
        "languages=[sw,yo]",
        f"output_dir={tmp_path / 'short'}",
    ]
    folder = pipeline(
        "embed",
        "search",
        *words,
        "benchmark.text.max_document_length=64",
        "benchmark.retrieval.rerank_depth=30",
    )
    systems = f"systems=[dense,{folder}/runs/dense]"
    with pytest.raises(UserError) as error:
        compared(systems)
    assert "texts.corpus-sw.max_length: 128 in dense, 64 in /" in str(
        error.value
    ) and "accept=[max_length]" in str(error.value)
    report = compared(systems, "accept=[max_length]")
    assert (
        "accepted difference: sw: texts.corpus-sw.max_length: 128 in dense, 64"
        in (report / "comparison.md").read_text()
    )
    with pytest.raises(UserError, match=r"depth: 200 in multi_vector, 30 in /"):
        compared(f"systems=[multi_vector,{folder}/runs/multi_vector]", "accept=[max_length]")
    with pytest.raises(UserError, match=r"depth: 1000 in dense, 200 in multi_vector"):
        compared(
            "systems=[dense,multi_vector]", "benchmark.metrics=[R@500]"
        )  # deeper than one of them went


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
    with pytest.raises(
        UserError, match=r"(?s)corpus-sw.count: 60 in dense, 55 in .*corpus-sw.sha256"
    ) as error:
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
        (["test=wilcoxon"], "choose among permutation, t"),
        (["alpha=5"], "alpha=5: must lie between 0 and 1"),
        (["resamples=1000", "alpha=0.001"], "Set resamples="),
        (["retriever.all.weights.sparse=0.9"], "un `m3eval search` again"),
    ],
)
def test_bad_settings_say_what_to_do(compared, words, said):
    with pytest.raises(UserError, match=said):
        compared(*words)


def report(baseline="base_line"):
    """A system far better in sw, one far worse, 30 queries each; language yo hardly differs."""
    rng = np.random.default_rng(0)
    noise = {lang: rng.uniform(0, 0.01, (3, 30)) for lang in ("sw", "yo")}
    level = {"base_line": 0.5, "A&B_100%": 0.9, "~worse^#$": 0.1}
    per_query = {
        (name, lang): {
            "nDCG@10": {
                str(i): (value if lang == "sw" else 0.5) + x for i, x in enumerate(noise[lang][row])
            }
        }
        for row, (name, value) in enumerate(level.items())
        for lang in ("sw", "yo")
    }
    pairs = [("A&B_100%", "base_line"), ("~worse^#$", "base_line")] + (
        [] if baseline else [("~worse^#$", "A&B_100%")]
    )
    family = []
    for one, other in pairs:
        parts = [
            significance.paired_differences(
                per_query[one, la]["nDCG@10"], per_query[other, la]["nDCG@10"]
            )
            for la in ("sw", "yo")
        ]
        for column, arrays in {"sw": parts[:1], "yo": parts[1:], "average": parts}.items():
            family.append((one, other, column, significance.paired(arrays, resamples=2000)))
    p = significance.holm([row[-1].p for row in family])
    results = [PairResult("nDCG@10", *row, value) for row, value in zip(family, p, strict=True)]
    settings = {
        "test": "permutation",
        "resamples": 2000,
        "confidence": 0.95,
        "alpha": 0.05,
        "seed": 0,
    }
    return PairedTests(
        "t {x} \\ <y>",
        ["nDCG@10"],
        ["sw", "yo"],
        list(level),
        baseline,
        per_query,
        results,
        settings,
        ["c_d"],
        ["a_b"],
        {},
    )


def test_a_narrow_terminal_shows_every_score_in_full(capsys):
    few = report()
    systems = [f"encoder_{i:02}/dense_sparse" for i in range(13)]
    languages = [f"l{i:02}" for i in range(18)]
    scores = {
        (name, lang): {"nDCG@10": {"q": (7 * i + j) / 120}}
        for i, name in enumerate(systems)
        for j, lang in enumerate(languages)
    }
    show(
        replace(
            few,
            systems=systems,
            baseline=systems[0],
            languages=languages,
            per_query=scores,
            results=[],
        )
    )
    out = capsys.readouterr().out
    assert "…" not in out and all(len(line) <= 80 for line in out.splitlines() if "│" in line)
    rows = [
        line.replace("│", " ").split()
        for line in out.splitlines()
        if line.startswith("│ encoder_12")
    ]
    shown = [float(value) for row in rows for value in row[1:]]
    assert shown == [
        float(f"{value:.1f}")
        for value in (
            np.mean([(84 + j) / 1.2 for j in range(18)]),
            *((84 + j) / 1.2 for j in range(18)),
        )
    ]


def test_marks_follow_the_tests(tmp_path, capsys):
    marks = {system: report().mark("nDCG@10", system, "sw") for system in report().systems}
    assert marks == {"base_line": "", "A&B_100%": "▲", "~worse^#$": "▼"}
    letters = {system: report(None).mark("nDCG@10", system, "sw") for system in report().systems}
    assert letters == {"base_line": "c", "A&B_100%": "a,c", "~worse^#$": ""}
    assert report().mark("nDCG@10", "A&B_100%", "yo") == ""
    uncorrected = replace(
        report(), results=[found._replace(p_holm=0.05) for found in report().results]
    )
    assert uncorrected.mark("nDCG@10", "A&B_100%", "sw") == ""  # p alone is not what counts
    write(report(), ComparisonFiles(tmp_path))
    markdown = (tmp_path / "comparison.md").read_text()
    assert (
        "| A&B_100% | **70.5**<sup>▲</sup> | **90.5**<sup>▲</sup> | 50.5 |" in markdown
        and "better, worse than base_line" in markdown
    )
    tex = (tmp_path / "comparison.tex").read_text()
    assert r"A\&B\_100\% & \textbf{70.5}$^{\uparrow}$ & \textbf{90.5}$^{\uparrow}$ & 50.5" in tex
    assert r"accepted difference: a\_b" in tex
    show(report())
    out = capsys.readouterr().out
    assert "90.5 ▲" in out and "/0/" in out and "accepted difference: a_b" in out


def test_escape():
    assert latex.escape("a_b & 5% #1 {x} $y^2~\\") == (
        r"a\_b \& 5\% \#1 \{x\} \$y\textasciicircum{}2\textasciitilde{}\textbackslash{}"
    )


@needs_program("pdflatex", "apt-get install texlive-latex-base texlive-latex-recommended")
@pytest.mark.parametrize("baseline", ["base_line", None])
def test_latex_compiles(tmp_path, baseline):
    write(report(baseline), ComparisonFiles(tmp_path))
    document = [
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}",
        r"\begin{document}",
    ]
    (tmp_path / "paper.tex").write_text(
        "\n".join([*document, r"\input{comparison}", r"\end{document}"])
    )
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    found = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert found.returncode == 0 and (tmp_path / "paper.pdf").exists(), found.stdout[-3000:]
