"""Documents that are meant to be copied name only what exists."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from bench import mteb_tasks
from m3eval import cli
from m3eval.commands.table import NAMES
from m3eval.config import CONFIG_DIR, composition

ROOT = Path(__file__).resolve().parents[1]


def test_the_workflow_names_what_exists():
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/ci.md").read_text(), re.DOTALL)
    job = yaml.safe_load(block)["jobs"]["gate"]
    text = "\n".join(str(step) for step in job["steps"])
    assert {*re.findall(r"m3eval (\w+) \$WORDS", text)} == {"embed", "search", "gate"}
    assert job["env"]["WORDS"] == "experiment=demo"
    (cache,) = [step["with"] for step in job["steps"] if "cache@" in step.get("uses", "")]
    patterns = re.findall(r"'([^']+)'", cache["key"])
    assert patterns and all(any(ROOT.glob(pattern)) for pattern in patterns)
    assert "restore-keys" not in cache  # a store of older code would hide what newer code does


DOCUMENTS = [
    "README.md",
    "docs/ci.md",
    "docs/data.md",
    "results/README.md",
    "CONTRIBUTING.md",
    "docs/log.md",
]
CHOICES = [str(path.relative_to(ROOT)) for path in sorted(CONFIG_DIR.rglob("*.yaml"))]


@pytest.mark.parametrize("path", [*DOCUMENTS, *CHOICES])
def test_commands_that_are_named_exist(path):
    """A command stands in `backquotes`, in a block, or behind the # of a YAML."""
    text = (ROOT / path).read_text()
    before = r"(?:^|`|&& |^# (?:OPENAI_API_KEY=\.\.\. )?)"
    named = re.findall(before + r"(?:python -m )?m3eval ([a-z]+)", text, re.MULTILINE)
    assert {*named} <= {*NAMES}
    assert named or path in ("docs/log.md", "CONTRIBUTING.md")
    old = re.findall(r"python -m m3eval\.\w+", text)
    assert not old or path == "docs/log.md"


@pytest.mark.parametrize(("path", "least"), [("README.md", 10), ("docs/data.md", 7)])
def test_commands_of_documents_compose(path, least):
    """Every line of a block that calls m3eval: its settings and choices exist."""
    text = (ROOT / path).read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    calls = [line for line in lines if line.startswith("m3eval ")]
    assert len(calls) > least
    for line in calls:
        name, *words = shlex.split(line, comments=True)[1:]
        command = cli.find(name)
        composition([*command.fixed, *cli.named(command, words)], command.config)


def test_the_page_of_mteb_s_tasks_is_that_of_its_list():
    tasks = mteb_tasks.read()
    assert (ROOT / "docs/mteb.md").read_text() == mteb_tasks.page(tasks)
    assert len({task.name for task in tasks}) == len(tasks) > 400
    (miracl,) = [task for task in tasks if task.name == "MIRACLRetrieval"]
    words = shlex.split(miracl.words)
    cfg = composition(["benchmark=hub", *words]).cfg
    assert (cfg.benchmark.name, cfg.benchmark.split) == ("mteb-MIRACLRetrieval", "dev")
    assert "languages" not in miracl.words and len(miracl.subsets.split(",")) == 18
    said = {word.partition("=")[0] for task in tasks for word in shlex.split(task.words)}
    assert said == {f"benchmark.{key}" for key in ("repository", "split", "language")}


def test_files_that_contributing_names_exist():
    """By the end of their path; `NAME` stands for one that is yet to be written."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`([\w./]+\.(?:py|yaml|md))(?::[^`]*)?`", text)
    folders = ("m3eval", "conf", "tests", "bench", "docs", "gates", "results")
    files = [*ROOT.glob("*"), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    paths = [f"/{path.relative_to(ROOT)}" for path in files]
    assert len({*named}) > 30
    lost = {name for name in named if not any(path.endswith(f"/{name}") for path in paths)}
    assert not {name for name in lost if "NAME" not in name}


def test_extras_that_are_named_exist():
    """Without underscores: pip 23, which Python 3.11 brings, does not find an extra with one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {*project["optional-dependencies"]}
    assert all(re.fullmatch(r"[a-z0-9-]+", extra) for extra in extras)
    files = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    files += [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "m3eval").rglob("*.py")]
    files += [*(ROOT / "bench").rglob("*.py")]
    texts = "\n".join(path.read_text(encoding="utf-8") for path in files)
    named = {
        name for names in re.findall(r"m3eval\[([^\]]+)\]", texts) for name in names.split(",")
    }
    assert len(named) > 4
    assert named <= extras
