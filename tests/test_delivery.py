"""What others build upon: the action of the gate, the workflow, the container's recipe."""

import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.needs import needs

ROOT = Path(__file__).resolve().parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"] if "name" in step}
# A language of a benchmark of one's own.
FILES = {
    "corpus.jsonl": '{"docid": "d1", "text": "dog runs"}\n{"docid": "d2", "text": "cat sleeps"}\n',
    "queries.tsv": "q1\twhat does the dog do?\nq2\tand the cat?\n",
    "qrels.tsv": "q1 0 d1 1\nq2 0 d2 1\n",
}


def bash(script, folder, **environment):
    """Runs a script as GitHub does: bash that stops at the first failure. It finds m3eval."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    program = bin_folder / "m3eval"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m m3eval "$@"\n')
    program.chmod(0o755)
    found = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | found | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def step(name, folder, **environment):
    return bash(STEPS[name]["run"], folder, **environment)


def write_texts(folder):
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)


def test_inputs_are_declared_and_used():
    text = (ROOT / "action.yml").read_text()
    assert {*re.findall(r"inputs\.([\w-]+)", text)} == {*ACTION["inputs"]}
    for name, its in STEPS.items():  # no text of a caller becomes part of a script
        assert "${{" not in its["run"], name


@needs("bm25s", "Stemmer")
def test_the_gate_step_passes_and_fails(tmp_path):
    write_texts(tmp_path / "data/en")
    # A file that the list of languages would match, were it a pattern of file names.
    (tmp_path / "languages=e").touch()
    words = (
        "benchmark=folder benchmark.name=mine benchmark.root=data languages=[en] retriever=[bm25s]"
        " retriever.bm25s.stemmer=null"
    )
    written = bash(f"set -f; m3eval search {words}; m3eval gate {words} gate.write=true", tmp_path)
    assert written.returncode == 0, written.stdout
    found = step("gate", tmp_path, WORDS=words)
    assert found.returncode == 0 and "OK: " in found.stdout, found.stdout + found.stderr
    (file,) = (tmp_path / "gates/mine").glob("*.yaml")
    file.write_text(file.read_text().replace("100.0", "10.0"))
    found = step("gate", tmp_path, WORDS=words)
    assert found.returncode == 1 and "wrong" in found.stdout, found.stdout + found.stderr


def test_the_step_in_the_documentation():
    (block,) = re.findall(r"```yml\n(.*?)```", (ROOT / "docs/ci.md").read_text(), re.DOTALL)
    *_, used = yaml.safe_load(block)
    assert {*used["with"]} <= {*ACTION["inputs"]}


@pytest.mark.slow
def test_a_row_is_submitted_as_the_documentation_says(tmp_path):
    """And is refused where its run, or what it claims, was edited."""
    write_texts(tmp_path / "data/mine/en")
    section = (ROOT / "docs/site.md").read_text().partition("## Submitting")[2]
    submit, check = re.findall(r"^```\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    for script in (submit, check):
        found = bash(script, tmp_path)
        assert found.returncode == 0, found.stdout + found.stderr
    assert (tmp_path / "public/index.html").exists()
    file = tmp_path / "board/gates/mine/e5_small_q4.yaml"
    claimed = file.read_text()
    file.write_text(claimed.replace("100.0", "10.0"))
    assert bash(check, tmp_path).returncode == 1
    file.write_text(claimed)
    run = tmp_path / "board/rows/mine/e5_small_q4/runs/dense/en.trec"
    run.write_text(run.read_text().replace("d1", "d2", 1))
    assert bash(check, tmp_path).returncode == 2


def test_the_key_is_of_code_and_words(tmp_path):
    """Other code, or other words, take no store from before."""
    source = tmp_path / "source"
    for part in ("m3eval", "conf"):
        (source / part).mkdir(parents=True)
        (source / part / "a").write_text("1")
    (source / "pyproject.toml").touch()

    def key(words):
        output = tmp_path / "output"
        output.unlink(missing_ok=True)
        found = step("key", tmp_path, WORDS=words, SOURCE=str(source), GITHUB_OUTPUT=str(output))
        assert found.returncode == 0, found.stderr
        return output.read_text()

    first = key("a=[b,c]")
    assert re.fullmatch(r"key=m3eval-stores-[0-9a-f]{16}-[0-9a-f]{16}\n", first)
    assert key("a=[b,c]") == first != key("a=[b,d]")
    (source / "conf/a").write_text("2")
    assert key("a=[b,c]") != first


def test_the_workflow_runs_what_is_there():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert ".ci/run" in runs and os.access(ROOT / ".ci/run", os.X_OK)
    (used,) = [step for step in jobs["gate"]["steps"] if step.get("uses") == "./"]
    assert {*used["with"]} <= {*ACTION["inputs"]}
    assert any(ROOT.glob(used["with"]["texts"]))
    built = [stage for run in runs for stage in re.findall(r"--target (\w+)", run)]
    assert built and {*built} <= stages()


def stages():
    return {*re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)}


def test_the_container_gets_what_it_copies():
    text = (ROOT / "Dockerfile").read_text()
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    sources = {source for line in lines for source in line.split()}
    let_in = (ROOT / ".dockerignore").read_text().splitlines()
    assert let_in[0] == "*"
    for source in sources:
        assert (ROOT / source).exists() and f"!{source}" in let_in, source
    named = {*re.findall(r"--target (\w+)", (ROOT / "docs/install.md").read_text() + text)}
    assert named == {"cpu", "cuda"} <= stages()
    (installed,) = {*re.findall(r"\[([\w,-]+)\]\"", text)}
    extras = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in extras for extra in installed.split(","))


@pytest.mark.slow
def test_the_container_s_folder_makes_a_wheel(tmp_path):
    """Of nothing but what .dockerignore lets in."""
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            path = ROOT / line[1:]
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, tmp_path / line[1:])
    built = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", "dist", "."]
    subprocess.run(built, cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    assert fnmatch(wheel.name, "m3eval-*.whl")
