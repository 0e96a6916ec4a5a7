"""The gate: scores that stay pass, scores that move either way are seen, other runs are refused."""

import csv
import gzip
import itertools
import math
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from m3eval.benchmarks.texts import TextRules
from m3eval.commands import gate
from m3eval.commands.gate import OVERLAP
from m3eval.config import check, compose
from m3eval.encoders.heads.dense import PooledVector
from m3eval.errors import UserError
from m3eval.expected import Expected, JudgedLanguage, QueryResult, Tolerance, read_gate
from m3eval.manifests import Result
from m3eval.records import read
from m3eval.reports import verdicts
from m3eval.reports.verdicts import GateReport, MovedQuery, ScoreVerdict
from m3eval.stages import embed, search
from tests.conftest import save_m3
from tests.records import reseal

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "gates/demo/e5_small_q4.yaml"
METRICS = "benchmark.metrics=[nDCG@10,RR@10]"


@pytest.fixture
def gated(pipeline, tmp_path):
    """Runs of two languages, and a gate written from them.

    gated("languages=[yo]", ...) holds runs against the gate, and returns their folder.
    """
    defaults = ["languages=[sw,yo]", METRICS, f"gate.file={tmp_path / 'gate.yaml'}"]
    pipeline("embed", "search", "languages=[sw,yo]")
    pipeline("gate", *defaults, "gate.write=true")

    def hold(*words):
        given = {word.partition("=")[0] for word in words}
        others = [word for word in defaults if word.partition("=")[0] not in given]
        return pipeline("gate", *others, *words)

    return hold


def test_the_same_runs_pass(gated, tmp_path, capsys, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    folder = gated() / "gate"
    # (2 metrics + overlap) x 5 retrievers x (2 languages + average)
    verdict = "OK: 45 ok, 0 drift, 0 wrong of 45 values; 0 lists moved"
    assert verdict in capsys.readouterr().out
    markdown = (folder / "gate.md").read_text()
    assert "OK: 45 ok" in markdown
    assert summary.read_text() == "before\n" + markdown
    suite = ElementTree.parse(folder / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("45", "0")
    assert len(suite.findall("testcase")) == 45
    assert {case.get("classname") for case in suite} >= {"nDCG@10.dense", "top-10 overlap.all"}


def test_the_commands_end_with_a_status_and_no_traceback(tmp_path):
    """As a user starts them, with nothing made yet."""
    demo = ["experiment=demo", f"output_dir={tmp_path}"]
    calls = {"gate": demo, "compare": demo, "tune": demo, "info": [str(tmp_path)]}
    for command, words in calls.items():
        ended = subprocess.run(
            [sys.executable, "-m", "m3eval", command, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        said = ended.stdout + ended.stderr
        assert ended.returncode == 2, said
        assert "Error: " in said, command
        assert "Traceback" not in said, command


def test_scores_are_those_of_stage_2(gated, pipeline, tmp_path):
    folder = pipeline("evaluate", "languages=[sw,yo]", METRICS)
    scores = read(folder / "scores/scores.json", Result).scores
    expected, _ = read_gate(tmp_path / "gate.yaml")
    for metric, by_retriever in expected.scores.items():
        for name, by_language in by_retriever.items():
            of_stage_2 = scores[metric][name]
            assert by_language == {language: of_stage_2[language] for language in by_language}


def test_written_again_it_is_the_same_file_and_keeps_tolerances(gated, tmp_path):
    yaml, lists = tmp_path / "gate.yaml", tmp_path / "gate.tsv.gz"
    before = (yaml.read_bytes(), lists.read_bytes())
    assert before[1][4:8] == bytes(4)  # gzip's time
    gated("gate.write=true", "gate.tolerance.wrong=9")
    assert (yaml.read_bytes(), lists.read_bytes()) == before
    text = yaml.read_text()
    old, new = "nDCG@10: {drift: 0.01, wrong: 0.3", "nDCG@10: {drift: 0.02, wrong: 7.0"
    assert old in text
    yaml.write_text(text.replace(old, new))
    gated("gate.write=true")
    _, tolerance = read_gate(yaml)
    assert tolerance["nDCG@10"].wrong == 7
    assert tolerance["RR@10"].wrong == 0.3


def test_a_moved_score_fails_and_names_row_and_query(gated, tmp_path, capsys):
    """A run in which questions lost their documents: the gate says which."""
    run = next((tmp_path / "outputs").rglob("runs/dense/sw.trec"))
    lines = run.read_text().splitlines(keepends=True)

    def is_lost(line):
        qid, _, docid, rank, *_ = line.split()
        return docid == f"{qid}#0" and int(rank) <= 5

    lost_qid = next(line for line in lines if is_lost(line)).split()[0]
    run.write_text("".join(line for line in lines if not is_lost(line)))
    reseal(run)
    with pytest.raises(SystemExit) as stop:
        gated()
    assert stop.value.code == 1
    out = capsys.readouterr().out
    for words in ("wrong  ", f"moved  dense sw {lost_qid}: nDCG@10", "FAILED"):
        assert words in out
    suite = ElementTree.parse(run.parents[2] / "gate/junit.xml").getroot()
    failures = [
        (case.get("classname"), case.get("name"))
        for case in suite
        if case.find("failure") is not None
    ]
    assert {("RR@10.dense", "sw"), ("nDCG@10.dense", "sw")} <= {*failures}
    assert suite.get("failures") == str(len(failures))


def test_a_part_of_the_gate(gated, capsys):
    gated("languages=[yo]", "retriever=[dense,sparse]", "benchmark.metrics=[RR@10]")
    verdict = "OK: 4 ok, 0 drift, 0 wrong of 4 values; 0 lists moved; 8 cells"
    assert verdict in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["benchmark.text.max_document_length=64"],
            "corpus-sw.max_length: 128 in the gate, 64 now",
        ),
        (["benchmark.text.joint=' - '"], r"corpus-sw.joint: '\\n' in the gate, ' - ' now"),
        (
            ["retriever.all.weights.sparse=0.9"],
            "retrievers.all.weights.sparse: 0.3 in the gate, 0.9 now",
        ),
        (
            ["benchmark.retrieval.depth=20", "benchmark.retrieval.rerank_depth=20"],
            "retrievers.dense.depth: 1000 in the gate, 20 now",
        ),
    ],
)
def test_other_settings_are_refused(gated, pipeline, tmp_path, words, said):
    words = [*words, f"output_dir={tmp_path / 'other'}", "languages=[sw]"]
    pipeline("embed", "search", *words)
    with pytest.raises(UserError, match=said):
        gated(*words)


def test_another_checkpoint_corpus_or_judgements_are_refused(gated, pipeline, mirror, tmp_path):
    def refused(said, *words):
        words = [*words, "languages=[sw]", "retriever=[dense]", f"output_dir={tmp_path / said}"]
        pipeline("embed", "search", *words)
        with pytest.raises(UserError, match=said):
            gated(*words)

    checkpoint = save_m3(tmp_path / "other", seed=1)
    refused("encoder.files.*in the gate", f"encoder.checkpoint={checkpoint}")
    root = shutil.copytree(mirror, tmp_path / "mirror")
    qrels = root / "miracl/miracl/miracl-v1.0-sw/qrels/qrels.miracl-v1.0-sw-dev.tsv"
    qrels.write_text(qrels.read_text() + "0 Q0 3#0 1\n")
    refused("languages.sw.judgements", f"benchmark.root={root}")
    (root / "miracl/miracl-corpus/miracl-corpus-v1.0-sw/docs-11.jsonl.gz").unlink()
    refused("corpus-sw.sha256", f"benchmark.root={root}")


def test_what_is_missing_or_spoilt_says_so(gated, tmp_path):
    with pytest.raises(UserError, match="write it from runs that you trust, with gate.write=true"):
        gated(f"gate.file={tmp_path / 'none.yaml'}")
    with pytest.raises(UserError, match="scores.AP: not in the gate"):
        gated("benchmark.metrics=[AP]")
    (tmp_path / "gate.tsv.gz").unlink()
    with pytest.raises(UserError, match=r"cannot be read \(FileNotFoundError"):
        gated()


def measured(sw, yo, docids="a b c d e f g h i j"):
    """Means of two languages with 25 and 4 queries; one query's own result is known."""
    queries = {("dense", "sw", "1"): QueryResult({"nDCG@10": sw}, docids.split())}
    return Expected(
        scores={"nDCG@10": {"dense": {"sw": sw, "yo": yo}}},
        retrievers={"dense": {}},
        encoder=None,
        made_with={},
        languages={"sw": JudgedLanguage(25, "", {}), "yo": JudgedLanguage(4, "", {})},
        queries=queries,
    )


TOLERANCE = {
    "nDCG@10": Tolerance(drift=0.01, wrong=0.3, moved=1.0),
    OVERLAP: Tolerance(drift=0.01, wrong=2.0, moved=0.0),
}


@pytest.mark.parametrize(
    ("sw", "yo", "states"),
    [
        (50.0, 20.0, "ok ok ok"),
        (50.005, 20.0, "ok ok ok"),
        (53.9, 20.0, "drift ok drift"),  # sw: one of 25 queries is 4 points
        (54.1, 20.0, "wrong ok drift"),  # average: hypot(4, 25) / 2 = 12.66
        (45.9, 20.0, "wrong ok drift"),  # a loss as a gain
        (50.0, 44.9, "ok drift drift"),
        (50.0, 46.0, "ok wrong wrong"),
    ],
)
def test_states_by_hand(sw, yo, states):
    rows = list(gate.score_verdicts(measured(50.0, 20.0), measured(sw, yo), TOLERANCE))
    of_metric = [row for row in rows if row.metric == "nDCG@10"]
    assert [row.language for row in of_metric] == ["sw", "yo", "average"]
    assert " ".join(row.state for row in of_metric) == states
    assert of_metric[2].limit == pytest.approx(math.hypot(4, 25) / 2)


def without_scores(monkeypatch, retriever, language):
    """Judges as always, but for a run of which no question counts.

    As an empty one's where questions without documents are left out.
    """
    judge = gate.judge

    def judged(setup, task, runs):
        scores = judge(setup, task, runs)
        if task.language == language:
            scores[retriever] = {metric: {} for metric in scores[retriever]}
        return scores

    monkeypatch.setattr(gate, "judge", judged)


def test_a_score_that_vanished_fails(gated, monkeypatch, capsys):
    without_scores(monkeypatch, "dense", "yo")
    with pytest.raises(SystemExit) as stop:
        gated("retriever=[dense]")
    assert stop.value.code == 1
    out = capsys.readouterr().out
    assert "-> none (gone)" in out and "nan" not in out
    wrong = {tuple(line.split()[1:4]) for line in out.splitlines() if line.startswith("wrong ")}
    assert {("nDCG@10", "dense", "yo:"), ("nDCG@10", "dense", "average:")} <= wrong
    averages = [line for line in out.splitlines() if "dense average:" in line and "nDCG" in line]
    assert averages and all("-> none (gone)" in line for line in averages)
    assert ("nDCG@10", "dense", "sw:") not in wrong


def test_a_score_that_is_not_there_is_never_expected(gated, tmp_path, monkeypatch):
    before = (tmp_path / "gate.yaml").read_bytes()
    without_scores(monkeypatch, "dense", "yo")
    with pytest.raises(UserError, match=r"no score.*nDCG@10 dense yo, RR@10 dense yo"):
        gated("retriever=[dense]", "gate.write=true")
    assert (tmp_path / "gate.yaml").read_bytes() == before


def test_a_query_that_counts_no_longer_is_seen():
    """Its list is gone, though the mean is over the others."""
    key = ("dense", "sw", "1")
    now = measured(50, 20)
    now.queries[key] = QueryResult({}, [])
    (row,) = (row for row in gate.score_verdicts(measured(50, 20), now, TOLERANCE) if row.off > 0)
    assert (row.metric, row.now, row.state) == (OVERLAP, 0.0, "wrong")
    (moved,) = gate.moved_queries(measured(50, 20), now)
    assert "nDCG@10 50.0 -> none" in str(moved)


def test_a_cell_that_the_gate_lacks_is_named():
    expected = measured(50, 20)
    del expected.scores["nDCG@10"]["dense"]["yo"]
    (obstacle,) = gate.comparable(expected, measured(50, 20)).obstacles
    assert str(obstacle) == "scores.nDCG@10.dense.yo: not in the gate"


@pytest.mark.parametrize(
    ("wrong", "moved", "blind"),
    [
        (0.3, 1.0, []),
        (49.9, 1.0, []),
        (50.0, 1.0, ["sw"]),  # 50 may fall to 0 and rise to 100
        (80.0, 1.0, ["sw", "yo", "average"]),  # yo: 20, may rise by 80
        (0.3, 4.0, ["yo"]),  # yo has four queries: all of them may go from all to nothing
        (math.nan, 0.0, ["sw", "yo", "average"]),
    ],
)
def test_a_tolerance_that_covers_the_whole_scale_is_said(tmp_path, wrong, moved, blind):
    tolerance = TOLERANCE | {"nDCG@10": Tolerance(0.01, wrong, moved)}
    rows = list(gate.score_verdicts(measured(50, 20), measured(50, 20), tolerance))
    assert [row.language for row in rows if row.bears_everything] == blind
    report = GateReport("t", rows, [], [], 0, False)
    verdicts.write(report, tmp_path)
    said = f"{len(blind)} of 4 values cannot fail" if blind else ""
    for name in ("gate.md", "junit.xml"):
        text = (tmp_path / name).read_text()
        assert said in text and bool(blind) == ("cannot fail" in text)


def test_a_verdict_does_not_outlive_a_run_that_failed(gated, tmp_path):
    folder = gated() / "gate"
    assert {path.name for path in folder.iterdir()} == {"gate.md", "junit.xml"}
    with pytest.raises(UserError, match="not in the gate"):
        gated("benchmark.metrics=[AP]")
    assert [*folder.iterdir()] == []


def test_junit_is_xml_whatever_ids_hold(tmp_path):
    odd = "d\x01\x0e\ud83d\ufffe a&b<c>\"']]> \u202e\u2028 한"
    query = MovedQuery("dense", "sw", odd, "RR@10", 100.0, 0.0, 0.5, [odd], [odd])
    row = ScoreVerdict("RR@10", "dense", "sw", 100.0, 0.0, 0.3, "wrong")
    report = GateReport(odd, [row], [query], [], 0, False)
    with (tmp_path / "junit.xml").open("wb") as file:
        verdicts._junit(report).write(file, encoding="utf-8", xml_declaration=True)
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    said = r"d\u0001\u000e\ud83d\ufffe a&b<c>" + "\"']]> \u202e\u2028 한"
    assert suite.get("name") == f"m3eval.gate: {said}"
    assert said in suite[0][0].text


@pytest.mark.parametrize(
    ("docids", "share"),
    [("j i h g f e d c b a", 100), ("a b c d e f g h x y", 80), ("a", 10), ("", 0)],
)
def test_overlap_counts_documents_not_their_order(docids, share):
    overlaps = gate.overlaps(measured(50, 20), measured(50, 20, docids))
    assert overlaps == {"dense": {"sw": share}}


def test_lists_that_moved_are_seen_though_no_score_did():
    before, after = measured(50, 20), measured(50, 20, "a b c d e f g h x y")
    rows = gate.score_verdicts(before, after, TOLERANCE)
    assert [row.state for row in rows if row.metric == OVERLAP] == ["wrong"]
    (moved,) = gate.moved_queries(before, measured(50, 20, "b a c d e f g h i j"))
    assert moved.overlap == 1
    assert (moved.before[:2], moved.after[:2]) == (["a", "b"], ["b", "a"])


def test_strict_fails_on_drift():
    rows = list(gate.score_verdicts(measured(50, 20), measured(51, 20), TOLERANCE))
    lax = GateReport("t", rows, [], [], 0, strict=False)
    strict = GateReport("t", rows, [], [], 0, strict=True)
    assert lax.state == strict.state == "drift"
    assert (lax.failed, strict.failed) == (False, True)


def test_the_shipped_gate_agrees_with_the_shipped_results():
    """Two figures for one thing would be one too many."""
    scores = read(ROOT / "results/demo/e5_small_q4/scores.json", Result).scores
    expected, tolerance = read_gate(SHIPPED)
    assert {*expected.scores} < {*tolerance}
    assert len(expected.languages) == 18
    for metric, by_retriever in expected.scores.items():
        for name, by_language in by_retriever.items():
            shipped = {language: scores[metric][name][language] for language in by_language}
            assert by_language == pytest.approx(shipped, abs=0.02)
    with_queries = {(name, language) for name, language, _ in expected.queries}
    assert with_queries == {*itertools.product(expected.retrievers, expected.languages)}


def cls_pooling(setup):
    setup.encoder.heads["document"].dense = PooledVector("cls")  # e5 takes the mean


def drop_prefix(setup):
    setup.encoder.prefixes["query"] = ""


def wrong_joint(setup):
    """Title and text run into each other on their way to the model."""
    tokenize = setup.encoder.tokenize

    def tokenize_wrongly(request):
        texts = [text.replace("\n", "") for text in request.texts]
        return tokenize(request._replace(texts=texts))

    setup.encoder.tokenize = tokenize_wrongly


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("damage", "state", "seen_in"),
    [
        (None, "ok", None),
        (cls_pooling, "wrong", "nDCG@10"),
        # Scores move by less than 1.1 points, so only the lists show it.
        (drop_prefix, "wrong", OVERLAP),
        (wrong_joint, "wrong", OVERLAP),
    ],
)
def test_a_broken_encoder_is_caught(tmp_path, damage, state, seen_in, precision):
    """Real weights against the shipped gate; no manifest knows anything of the damage."""
    words = [
        "experiment=demo",
        "languages=[en,ko,sw]",
        f"output_dir={tmp_path}",
        "runtime.threads=1",
        f"runtime.precision={precision}",
    ]
    setup = check(compose(*words))
    if damage:
        damage(setup)
    embed.run(setup)
    search.run(setup)
    now = gate.measure(check(compose(*words, config="gate")))
    expected, tolerance = read_gate(SHIPPED)
    assert gate.comparable(expected, now)
    rows = list(gate.score_verdicts(expected, now, tolerance))
    allowed = {state, "drift"} if precision == "bf16" and not damage else {state}
    assert GateReport("demo", rows, [], [], 0, False).state in allowed
    if seen_in:
        cells = {(row.metric, row.retriever, row.language): row.state for row in rows}
        assert cells[seen_in, "dense", "average"] == "wrong"


@pytest.mark.slow
def test_a_wrong_joint_before_the_encoder_is_refused(tmp_path, monkeypatch):
    """The texts themselves are others then, which their hash tells."""
    monkeypatch.setattr(TextRules, "text", lambda self, document: document.title + document.text)
    words = [
        "experiment=demo",
        "languages=[en]",
        "retriever=[dense]",
        f"output_dir={tmp_path}",
        "runtime.threads=1",
    ]
    setup = check(compose(*words))
    embed.run(setup)
    search.run(setup)
    with pytest.raises(UserError, match="corpus-en.sha256"):
        gate.run(check(compose(*words, f"gate.file={SHIPPED}", config="gate")))


def test_lists_are_plain_text_in_gzip():
    with gzip.open(SHIPPED.with_suffix(".tsv.gz"), "rt") as file:
        first = next(csv.DictReader(file, delimiter="\t"))
    assert list(first) == ["retriever", "language", "qid", "nDCG@10", "RR@10", "docids"]
    assert len(first["docids"].split()) == 10
