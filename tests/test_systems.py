"""One command takes several systems through every stage and into one comparison."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from m3eval.commands import compare, systems
from m3eval.config import CONFIG_DIR, check, compose
from m3eval.errors import UserError
from tests.needs import needs

ROOT = Path(__file__).resolve().parents[1]
LINEUPS = sorted(path.stem for path in (CONFIG_DIR / "lineup").glob("*.yaml"))


SMALL = ["benchmark=demo", "languages=[en]", "runtime.threads=1", "resamples=1000"]


def run(words: list[str]) -> None:
    systems.run(check(compose(*words, config="systems"), words))


@needs("bm25s", "Stemmer")
def test_every_system_is_evaluated_with_what_it_builds_on_and_compared(tmp_path, capsys):
    words = [
        *SMALL,
        f"output_dir={tmp_path}",
        "benchmark.metrics=[nDCG@10]",
        "systems=[latent_sparse/sparse,e5_small_q4/multi_vector,e5_small_q4/bm25s]",
    ]
    run(words)
    runs = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("en.trec")}
    assert runs == {
        "demo/latent_sparse/runs/sparse",
        "demo/e5_small_q4/runs/dense",
        "demo/e5_small_q4/runs/multi_vector",
        "demo/e5_small_q4/runs/bm25s",
    }
    (table,) = tmp_path.rglob("comparison.md")
    assert all(
        word in table.read_text()
        for word in ("latent_sparse/sparse", "e5_small_q4/multi_vector", "e5_small_q4/bm25s")
    )
    assert "whole texts are read by e5_small_q4/bm25s" in table.read_text()
    assert (
        "whole texts are read by bm25s"
        in (tmp_path / "demo/e5_small_q4/scores/scores.md").read_text()
    )
    assert "whole texts" not in (tmp_path / "demo/latent_sparse/scores/scores.md").read_text()
    capsys.readouterr()
    run(words)
    assert capsys.readouterr().out.count("found finished") == 4 + 4  # stores, and runs


@needs("bm25s", "Stemmer")
def test_the_command(tmp_path):
    """As a user calls it, with a line-up whose list the command line replaces."""
    words = [
        "experiment=demo",
        "lineup=small",
        "systems=[latent_sparse/bm25_tokens,e5_small_q4/bm25s]",
        "languages=[en]",
    ]
    words += [
        f"output_dir={tmp_path}",
        "resamples=1000",
        "benchmark.metrics=[nDCG@10]",
        "retriever.bm25s.k1=0.9",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "m3eval", "systems", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Beside both encoders' folders.
    comparison = json.loads((tmp_path / "demo/comparison/comparison.json").read_text())
    assert list(comparison["scores"]["nDCG@10"]) == [
        "latent_sparse/bm25_tokens",
        "e5_small_q4/bm25s",
    ]
    # No encoder that took no part.
    assert comparison["provenance"]["config"]["encoder"]["name"] == "latent_sparse"
    assert comparison["read_whole_texts"] == ["e5_small_q4/bm25s"]
    result = json.loads((tmp_path / "demo/e5_small_q4/scores/scores.json").read_text())
    recorded = result["provenance"]["config"]
    # Though the other encoder is not asked for bm25s.
    assert recorded["retriever"]["bm25s"]["k1"] == 0.9
    # What the three scripts would record: the words of a comparison are not theirs.
    assert set(recorded) == set(compose())


@pytest.mark.parametrize("lineup", LINEUPS)
def test_a_lineup_names_what_exists(lineup):
    for system in compose(f"lineup={lineup}", config="systems").systems:
        encoder, retriever = system.split("/")
        setup = check(compose(f"encoder={encoder}", f"retriever=[{retriever}]", "benchmark=demo"))
        assert setup.cfg.encoder.name == encoder


def test_windows_stand_beside_what_is_cut_only_where_that_is_accepted(tmp_path):
    words = [
        *SMALL,
        f"output_dir={tmp_path}",
        "systems=[e5_small_q4/dense,e5_small_q4_windows/dense]",
        "benchmark.metrics=[nDCG@10]",
    ]
    with pytest.raises(
        UserError, match=r"max_length: 512 in e5_small_q4/dense, 65536 in e5_small_q4_windows/dense"
    ):
        run(words)
    run([*words, "accept=[max_length]"])
    tables = (tmp_path / "demo/comparison/comparison.md").read_text()
    assert (
        "accepted difference: en: texts.corpus-en.max_length: 512 in e5_small_q4/dense, 65536 in"
        in tables
    )
    assert (
        "512/65536 tokens, windows 512/256"
        in (tmp_path / "demo/e5_small_q4_windows/scores/scores.md").read_text()
    )


def test_a_system_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(UserError, match="dense needs an encoder"):
        run(
            [
                "benchmark=demo",
                f"output_dir={tmp_path}",
                "encoder=e5_small_q4",
                "systems=[dense,e5_small_q4/sparse]",
            ]
        )


@needs("bm25s", "Stemmer")
def test_a_retriever_that_needs_no_encoder_is_a_system_by_itself(tmp_path):
    words = [*SMALL, f"output_dir={tmp_path}", "benchmark.metrics=[nDCG@10]"]
    run([*words, "systems=[e5_small_q4/dense,bm25s]"])
    runs = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("en.trec")}
    assert runs == {"demo/no_encoder/runs/bm25s", "demo/e5_small_q4/runs/dense"}
    assert "bm25s" in (tmp_path / "demo/comparison/comparison.md").read_text()
    # A comparison finds that run by the retriever's name, and under an encoder's.
    for system in ("bm25s", "e5_small_q4/bm25s"):
        setup = check(
            compose(*words, "encoder=e5_small_q4", f"systems=[dense,{system}]", config="compare")
        )
        compare.run(setup)
