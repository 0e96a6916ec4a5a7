"""bench.gpu on a CPU, on a small model: every question that has a meaning there is answered."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu import attention, card, encoding, equality, profile
from bench.gpu.__main__ import earlier
from bench.gpu.asking import Asking
from bench.gpu.questions import QUESTIONS, Question
from bench.gpu.scene import Scene
from tests.needs import needs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    """A tiny scene on the CPU."""
    return Scene("cpu", True, str(tmp_path_factory.mktemp("scene")), rounds=1)


def question(name: str, minutes: float = 1, needs_gpu: str = "") -> Question:
    return Question(name, f"{name}?", minutes, f"tests.bench.answers:{name}", needs_gpu)


def ask(scene: Scene, *questions: Question, seconds: float = 60, known=None, output=None):
    asking = Asking(scene, output, {"gpu": None}, known or {})
    asking.ask(questions, seconds)
    return asking.report()["answers"]


def test_one_that_fails_leaves_its_error_and_the_next_is_asked(scene, tmp_path):
    output = tmp_path / "gpu.json"
    names = ["raises", "contender_fails", "dies", "well"]
    answers = ask(scene, *map(question, names), output=output)
    for name in names[:3]:
        assert answers[name]["rows"] == {"before": {"x": 1}}
    assert answers["raises"]["error"] == "ValueError: a sentence about it"
    assert answers["contender_fails"]["error"] == "SystemExit: KeyError: 'lost'"
    assert answers["dies"]["error"] == "its process ended with status -11"
    assert "error" not in answers["well"]
    assert list(answers["well"]["rows"]) == ["first", "second"]
    assert json.loads(output.read_text())["answers"] == answers


def test_a_limit_ends_a_question_and_its_children_and_keeps_its_rows(scene, tmp_path):
    """The rows are written while it is still under way."""
    output, written = tmp_path / "gpu.json", []

    class Noting(Asking):
        def _write(self):
            super()._write()
            written.append(json.loads(output.read_text())["answers"]["hangs"])

    asking = Noting(scene, output, {})
    asking.ask([question("hangs", minutes=0.07), question("well")], 60)
    answers = asking.report()["answers"]
    assert written[0] == {"asks": "hangs?", "rows": {"before": {"x": 1}}}
    assert answers["hangs"]["rows"] == {"before": {"x": 1}}
    assert answers["hangs"]["error"].startswith("ended after 4 s, its limit")
    child = Path(f"/proc/{(Path(scene.folder) / 'child').read_text()}/stat")
    assert not child.exists() or child.read_text().split()[2] == "Z"
    assert "error" not in answers["well"]


def test_what_needs_a_gpu_says_so_and_what_has_no_time_left_too(scene):
    answers = ask(scene, question("well", needs_gpu="it is one"), question("raises"), seconds=0)
    assert answers["well"]["left_out"] == "needs a GPU: it is one"
    assert answers["raises"]["left_out"].startswith("the time was up")


def test_whole_answers_are_kept_and_others_asked_again(scene):
    names = ["well", "raises"]
    first = ask(scene, *map(question, names))
    process = first["well"]["rows"]["first"]["process"]
    first["raises"]["rows"] = {}
    again = ask(scene, *map(question, names), known=first)
    assert again["well"]["rows"]["first"]["process"] == process
    assert again["raises"]["rows"]


def test_shares_are_of_the_rate_in_the_precision_that_is_measured(scene):
    answers = ask(scene, question("rates")._replace(name="card"), question("well"))
    rows = answers["well"]["rows"]
    assert rows["first"]["share_of_matrix_rate"] == 0.5
    assert rows["second"]["below"]["share_of_matrix_rate"] == 0.75


def test_answers_of_another_card_are_not_kept(tmp_path):
    file = tmp_path / "gpu.json"
    about = {"gpu": "A", "machine": {"versions": {"torch": "2"}}}
    assert earlier(file, about) == {}
    file.write_text(json.dumps(about | {"answers": {"well": {"rows": {}}}}))
    assert earlier(file, about) == {"well": {"rows": {}}}
    assert earlier(file, about | {"gpu": "B"}) == {}
    assert earlier(file, about | {"machine": {"versions": {"torch": "3"}}}) == {}


def test_the_packed_engine_is_transformers(scene):
    rows = dict(equality.packed_and_transformers(scene))
    assert list(rows) == [
        "m3eval, packed, fp32",
        "m3eval, packed, bf16",
        "transformers, padded, bf16",
    ]
    assert rows["m3eval, packed, fp32"]["sparse, largest_difference"] < 1e-5
    for name in ("dense", "multi_vector"):
        assert rows["m3eval, packed, fp32"][f"{name}, lowest_cosine"] > 1 - 1e-6
        assert 0.999 < rows["m3eval, packed, bf16"][f"{name}, lowest_cosine"] < 1 - 1e-6


def test_every_attention_is_held_against_fp32(scene):
    rows = dict(attention.each(scene))
    assert rows["chosen"] == {"attention": "equal_runs"}
    for lengths in attention.packs(scene):
        assert "does_not_run" in rows[f"{lengths}, variable_length"]
        assert rows[f"{lengths}, padded"]["largest_difference"] == 0
        for name in ("equal_runs", "equal_runs_by_products"):
            assert 0 <= rows[f"{lengths}, {name}"]["largest_difference"] < 1e-5
            assert rows[f"{lengths}, {name}"]["seconds"]["median"] > 0


def test_an_attention_that_is_wrong_is_seen(scene, monkeypatch):
    right = attention.attention.equal_runs
    wrong = lambda lengths, device: right(lengths[::-1], device)  # noqa: E731
    wrong.__name__ = "wrong"
    monkeypatch.setattr(attention, "MAKERS", (wrong,))
    assert dict(attention.each(scene))["mixed lengths, wrong"]["largest_difference"] > 0.1


def test_rates_profiles_and_budgets(scene):
    rates = dict(card.rates(scene))
    assert {*rates["matrix products"]} == {"fp32", "bf16", "fp16"}
    assert all(rate > 0 for row in rates.values() for rate in row.values())
    for row in dict(profile.packs(scene)).values():
        assert sum(row["longest"].values()) == pytest.approx(1, abs=0.5)
    rows = dict(encoding.budgets(scene))
    assert len(rows) == 9
    assert all(row["tokens_per_second"] > 0 for row in rows.values())


def test_every_answer_is_there_and_no_two_questions_have_one_name():
    assert len({each.name for each in QUESTIONS}) == len(QUESTIONS)
    for each in QUESTIONS:
        module, function = each.answer.split(":")
        text = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text()
        assert re.search(rf"^def {function}\(scene: Scene\)", text, re.MULTILINE), each.answer


@pytest.mark.slow
@needs("FlagEmbedding")
def test_all_of_it_runs_through_on_a_cpu(tmp_path):
    output = tmp_path / "gpu.json"
    words = ["--device", "cpu", "--tiny", "--output", str(output)]
    subprocess.run([sys.executable, "-m", "bench.gpu", *words], cwd=ROOT, check=True)
    answers = json.loads(output.read_text())["answers"]
    assert list(answers) == [each.name for each in QUESTIONS]
    for each in QUESTIONS:
        answer = answers[each.name]
        assert "error" not in answer, answer
        assert ("left_out" in answer) == bool(each.needs_gpu)
        assert each.needs_gpu or answer["rows"]
    for length in (16, 64, 128):
        rows = answers[f"encode-{length * 8 if length < 128 else 8192}"]["rows"]
        for row in rows.values():
            assert row["FlagEmbedding"]["lowest_cosine"] > 1 - 1e-6
            assert row["m3eval"]["share_of_matrix_rate"] > 0
    assert all(row["tokens_per_second"] > 0 for row in answers["stage0"]["rows"].values())
