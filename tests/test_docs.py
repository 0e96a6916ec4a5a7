"""Documents that are meant to be copied name only what exists."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def test_the_workflow_names_what_exists():
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/ci.md").read_text(), re.DOTALL)
    job = yaml.safe_load(block)["jobs"]["gate"]
    text = "\n".join(str(step) for step in job["steps"])
    for script in re.findall(r"python (step\w+\.py)", text):
        assert (ROOT / script).exists()
    assert "python -m m3eval.gate $WORDS" in text and job["env"]["WORDS"] == "experiment=demo"
    (cache,) = [step["with"] for step in job["steps"] if "cache@" in step.get("uses", "")]
    patterns = re.findall(r"'([^']+)'", cache["key"])
    assert patterns and all(any(ROOT.glob(pattern)) for pattern in patterns)
    assert "restore-keys" not in cache  # a store of older code would hide what newer code does


@pytest.mark.parametrize("path", ["README.md", "docs/ci.md"])
def test_modules_that_are_named_exist(path):
    found = set(re.findall(r"python -m (m3eval\.\w+)", (ROOT / path).read_text()))
    assert found and all((ROOT / f"{name.replace('.', '/')}.py").exists() for name in found)


def test_files_that_contributing_names_exist():
    """With or without m3eval/ before them; `NAME` stands for one that is yet to be written."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = {
        name
        for name in re.findall(r"`([\w./]+\.(?:py|yaml|md))(?::[^`]*)?`", text)
        if "NAME" not in name
    }
    assert len(found) > 30
    folders = (
        ROOT,
        ROOT / "m3eval",
        ROOT / "m3eval/encoders",
        ROOT / "m3eval/benchmarks",
        ROOT / "m3eval/retrievers",
    )
    folders += (ROOT / "m3eval/reports/site", ROOT / "conf/benchmark")
    assert not sorted(
        name for name in found if not any((folder / name).exists() for folder in folders)
    )
