"""What stage 0 foretells, against what it then took."""

from __future__ import annotations

import re

import pytest

from m3eval.benchmarks.tally import SAMPLE
from tests.conftest import words

N = 500
# Later documents are longer, as where a corpus is sorted; the last are cut at 128 tokens.
GROWING = [(f"d{i}", words(i, 3 + 90 * i // N)) for i in range(N)]


@pytest.fixture
def stage_0(pipeline, corpus_of, capsys):
    """Runs stage 0 on growing documents; gives what was printed, and the folder."""
    root = corpus_of({"xx": GROWING}, {"xx": [("q0", words(1, 3))]})

    def run(*more: str):
        capsys.readouterr()
        folder = pipeline(
            "embed",
            "benchmark=folder",
            "benchmark.name=growing",
            f"benchmark.root={root}",
            "languages=[xx]",
            *more,
        )
        return capsys.readouterr().out, folder

    return run


def number(pattern: str, text: str) -> float:
    return float(re.search(pattern, text)[1].replace(",", ""))


@pytest.mark.parametrize("in_windows", [False, True])
def test_tokens_and_bytes_of_a_set_whose_texts_grow_are_foretold(stage_0, m3, in_windows):
    more = [
        "encoder=pooled",
        f"encoder.checkpoint={m3}",
        "encoder.name=p",
        "encoder.pooling=cls",
        "encoder.windows={size: 32, stride: 24}",
    ]
    more = more if in_windows else []
    planned, _ = stage_0("plan_only=true", *more)
    done, folder = stage_0(*more)
    took = number(r"encoded ([\d,]+) tokens", done)
    assert number(r"estimate +([\d,]+) tokens", planned) == pytest.approx(took, rel=0.03)
    value, unit = re.search(r"about ([\d.,]+) (kB|MB) of stores", planned).groups()
    taken = sum(path.stat().st_size for path in (folder / "stores").rglob("*.npy"))
    assert float(value) * {"kB": 1e3, "MB": 1e6}[unit] == pytest.approx(taken, rel=0.1)


def test_the_first_texts_alone_would_have_foretold_much_less():
    """So the test above does not hold by itself."""
    lengths = [len(text) for _, text in GROWING]
    assert sum(lengths[:SAMPLE]) / SAMPLE < 0.3 * sum(lengths) / N


def test_texts_without_a_character_have_a_forecast_too(pipeline, corpus_of, capsys):
    root = corpus_of({"xx": [("d0", ""), ("d1", "")]}, {"xx": [("q0", "?")]})
    pipeline(
        "embed",
        "plan_only=true",
        "benchmark=folder",
        "benchmark.name=empty",
        f"benchmark.root={root}",
        "languages=[xx]",
    )
    assert "to encode  3 texts" in capsys.readouterr().out


def test_a_share_takes_its_part(stage_0):
    whole, _ = stage_0("plan_only=true")
    part, _ = stage_0("plan_only=true", "runtime.share=1/4")
    told = number(r"estimate +([\d,]+) tokens at", whole)
    assert number(r"estimate +([\d,]+) tokens in share 1/4 at", part) == pytest.approx(
        told / 4, 0.01
    )
