"""Secrets stay out: of every file that is written, and of every line that is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from m3eval import cli, secrets
from m3eval.config import composition
from tests.needs import needs

ROOT = Path(__file__).resolve().parents[1]
KEY, HUB, PASSWORD, PROXY = "sk-canary-11a", "hf_canary-22b", "canary-33c", "canary-44d"
CANARIES = (KEY, HUB, PASSWORD, PROXY)
ENVIRONMENT = {
    "OPENAI_API_KEY": KEY,
    "HF_TOKEN": HUB,
    "HTTPS_PROXY": f"http://somebody:{PROXY}@127.0.0.1:9",
    "HTTP_PROXY": f"http://somebody:{PROXY}@127.0.0.1:9",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": str(ROOT),
}
URL = f"https://me:{PASSWORD}@host/v1?api_key={KEY}"
DEMO = ["benchmark=demo", "languages=[en]", "retriever=[bm25s]", "runtime.threads=1"]


def called(*words: str, cwd: Path) -> str:
    """All that a call prints."""
    done = subprocess.run(
        [sys.executable, "-m", "m3eval", *words],
        capture_output=True,
        text=True,
        env=os.environ | ENVIRONMENT,
        cwd=cwd,
        timeout=300,
    )
    return f"{done.returncode}\n{done.stdout}{done.stderr}"


def none_in(folder: Path, printed: str) -> None:
    """Asserts that no canary is printed, or written below a folder."""
    texts = {"printed": printed}
    texts |= {str(path): path.read_bytes().decode("utf-8", "replace") for path in files_in(folder)}
    names = [str(path) for path in files_in(folder)]
    for canary in CANARIES:
        assert not [name for name, text in texts.items() if canary in text]
        assert not [name for name in names if canary in name]


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "words",
    [
        ["embed", "encoder=openai", f"encoder.base_url={URL}"],  # no tiktoken, no network
        ["embed", "encoder=openai", f"+encoder.api_key={KEY}"],  # no such setting
        ["embed", "encoder=openai", f"encoder.api_key={KEY}"],
        ["embed", f"api_key={KEY}"],
        ["embed", f"token={HUB}", "langauges=[en]"],
        ["embed", f"--token={HUB}"],
        ["embed", URL],
        ["embed", "encoder=openai", f"encoder.base_url=[{URL}"],
        ["embed", "encoder=openai", f"encoder.timeout={URL}"],
        ["embed", "encoder=openai", "encoder.label=${oc.env:OPENAI_API_KEY}", "--cfg", "job"],
        ["embed", "encoder=openai", f"encoder.base_url={URL}", "--cfg", "job"],
        ["embed", "encoder=pooled", f"encoder.checkpoint={URL}", "encoder.name=x"],
        ["embed", f"encoder={URL}"],
        ["compare", *DEMO, "encoder=openai", f"encoder.base_url={URL}", "systems=[bm25s,dense]"],
        ["systems", *DEMO, f"encoder.base_url={URL}", "systems=[openai/dense]"],
        ["tune", *DEMO, "encoder=openai", f"encoder.base_url={URL}", f"tune.token={HUB}"],
        ["decode", "encoder=openai", f"encoder.base_url={URL}", f"text={KEY}"],
        ["verify", "encoder=openai", f"encoder.base_url={URL}"],
        ["verify", f"encoder.checkpoint={URL}"],
        ["mine", *DEMO, "encoder=openai", f"encoder.base_url={URL}"],
        ["train", f"encoder.checkpoint={URL}"],
        ["mirror", "languages=[sw]", f"benchmark.root={URL}"],
        ["list", URL],
        ["info", URL],
        [URL],
    ],
    ids=lambda words: " ".join(words).replace(URL, "URL"),
)
def test_words_that_are_refused_or_fail(words, tmp_path):
    none_in(tmp_path, called(*words, cwd=tmp_path))


@needs("bm25s", "Stemmer")
def test_no_file_of_the_stages_has_one(tmp_path):
    """The encoder's settings are recorded with every result, also of runs that need none."""
    words = [*DEMO, "encoder=openai", f"encoder.base_url={URL}", "benchmark.metrics=[nDCG@10]"]
    printed = called("run", *words, cwd=tmp_path)
    folder = tmp_path / "outputs/demo/openai_3_large"
    scores = folder / "scores" / "scores.json"
    assert scores.exists() and "https://***@host/v1?api_key=***" in scores.read_text(), printed
    for more in (
        ["gate", *words, "gate.write=true"],
        ["gate", *words],
        ["info", str(folder)],
        ["site", f"results=[{folder}]", f"runs=[{folder}]"],
        ["search", *words, "overwrite=true"],
    ):
        done = called(*more, cwd=tmp_path)
        assert done.startswith("0\n"), done
        printed += done
    none_in(tmp_path, printed)
    logs = list(tmp_path.glob("outputs/logs/*/*/command.txt"))
    assert logs and all("https://***@host" in log.read_text() for log in logs)


def test_a_defect_shows_none(monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError(f"Bearer {HUB} at {URL}, and the key is {KEY}")

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(cli, "call", broken)
    assert cli.run(["embed"]) == cli.DEFECT
    shown = capsys.readouterr().err
    assert "RuntimeError: Bearer *** at https://***@host" in shown
    assert not [canary for canary in (KEY, HUB, PASSWORD) if canary in shown]


def test_logs_keep_the_rest(tmp_path):
    words = ["encoder=openai", f"encoder.base_url={URL}", f"output_dir={tmp_path}"]
    folder = cli.log(cli.find("embed"), composition(words), tmp_path)
    config = OmegaConf.load(folder / "config.yaml")
    assert config.encoder.base_url == "https://***@host/v1?api_key=***"
    assert config.runtime.token_budget == "auto" and config.encoder.model.startswith("text-")


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("api_key", True),
        ("encoder.api-key", True),
        ("apiKey", True),
        ("HF_TOKEN", True),
        ("PGPASSWORD", True),
        ("client_secret", True),
        ("token_budget", False),
        ("bm25_tokens", False),
        ("n_mask_tokens", False),
        ("special_tokens", False),
        ("author", False),
    ],
)
def test_which_names_hold_secrets(name, hidden):
    assert secrets.masked_tree({name: "x"}) == {name: secrets.MASK if hidden else "x"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:a@b:c@host/x", "http://***@host/x"),
        ("at https://tok@host, https://host/@x", "at https://***@host, https://host/@x"),
        ("?token=a&b=c", "?token=***&b=c"),
        ("'api_key': 'a b', 'x': 1", "'api_key': ***, 'x': 1"),
        ("the header Bearer abc", "the header Bearer ***"),
        ("12,565 tokens/s, 2,048 tokens a pack", "12,565 tokens/s, 2,048 tokens a pack"),
        ("token 'a': 0.3", "token 'a': 0.3"),
    ],
)
def test_what_is_masked_in_a_line(text, shown):
    assert secrets.masked(text) == shown
