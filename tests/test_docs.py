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
