"""The scripts as a user starts them: exit codes, messages, help, and the demo on real weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def script(name, *words, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / name), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
        timeout=300,
        cwd=cwd,
    )


def test_without_hub_and_mirror_it_says_what_to_do(tmp_path):
    found = script(
        "step0_embed.py",
        "languages=[ko,fa]",
        f"output_dir={tmp_path}",
        HF_HOME=str(tmp_path / "hub"),
    )
    assert found.returncode == 2 and "Traceback" not in found.stdout + found.stderr
    for part in (
        "hf download BAAI/bge-m3",
        "encoder.checkpoint=",
        "hf download miracl/miracl ",
        "benchmark.root=/mirror",
        "experiment=demo",
    ):
        assert part in found.stdout, part


def test_help_helps():
    found = script("step1_search.py", "--help")
    assert found.returncode == 0
    for part in ("m3eval search experiment=demo", "languages=[ko,fa]", "bge_m3, bge_m3_mcls"):
        assert part in found.stdout, part


def test_demo_on_real_weights(tmp_path):
    words = ["experiment=demo", "languages=[en,ko]", "runtime.threads=1", f"output_dir={tmp_path}"]
    for name in ("step0_embed.py", "step1_search.py", "step2_eval.py"):
        found = script(name, *words)
        assert found.returncode == 0, found.stdout + found.stderr
    scores = json.loads((tmp_path / "demo/e5_small_q4/scores/scores.json").read_text())["scores"][
        "nDCG@10"
    ]
    assert (
        scores["dense"]["en"] > 70
        and scores["multi_vector"]["en"] > 70
        and scores["dense"]["ko"] > 50
    )
    # Questions do not repeat the documents' words.
    assert scores["sparse"]["average"] < scores["dense"]["average"]


def test_several_at_once_leave_nothing_but_the_output_folder(tmp_path):
    words = [
        "benchmark=demo",
        "encoder=e5_small_q4,latent_sparse",
        "languages=[en]",
        "runtime.threads=1",
        "plan_only=true",
    ]
    found = script("step0_embed.py", "-m", *words, "output_dir=out", cwd=tmp_path)
    assert found.returncode == 0 and found.stdout.count("nothing was encoded") == 2, (
        found.stdout + found.stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    first, second = sorted((tmp_path / "out/logs/embed").iterdir())
    assert "encoder=e5_small_q4" in (first / "command.txt").read_text()
    assert "encoder=latent_sparse" in (second / "command.txt").read_text()


def test_demo_across_languages_is_judged_by_answers(tmp_path):
    words = [
        "experiment=demo_cross",
        "languages=[de,th]",
        "runtime.threads=1",
        f"output_dir={tmp_path}",
        "retriever=[dense]",
    ]
    for name in ("step0_embed.py", "step1_search.py", "step2_eval.py"):
        found = script(name, *words)
        assert found.returncode == 0, found.stdout + found.stderr
    stores = tmp_path / "demo_cross/e5_small_q4/stores"
    # One corpus for both.
    assert sorted(path.name for path in stores.iterdir()) == [
        "corpus-en",
        "queries-de",
        "queries-th",
    ]
    scores = json.loads((tmp_path / "demo_cross/e5_small_q4/scores/scores.json").read_text())[
        "scores"
    ]
    assert scores["R@5"]["dense"]["average"] > scores["R@1"]["dense"]["average"] > 30
