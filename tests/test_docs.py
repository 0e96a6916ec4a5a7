"""Documents that are meant to be copied name only what exists."""

import itertools
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from bench import mteb_tasks
from m3eval import __version__, cli
from m3eval.commands.table import NAMES
from m3eval.config import CONFIG_DIR, composition, schema
from m3eval.config.checks import refuse
from m3eval.errors import UserError

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


PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
DOCUMENTS = [*PAGES, "results/README.md", "CONTRIBUTING.md"]
# Pages of which nobody expects a command.
WITHOUT = (
    "docs/log.md",
    "docs/versions.md",
    "docs/README.md",
    "docs/mteb.md",
    "docs/speed.md",
    "CONTRIBUTING.md",
)
CHOICES = [str(path.relative_to(ROOT)) for path in sorted(CONFIG_DIR.rglob("*.yaml"))]


@pytest.mark.parametrize("path", [*DOCUMENTS, *CHOICES])
def test_commands_that_are_named_exist(path):
    """A command stands in `backquotes`, in a block, or behind the # of a YAML."""
    text = (ROOT / path).read_text()
    before = r"(?:^|`|&& |^# (?:OPENAI_API_KEY=\.\.\. )?)"
    named = re.findall(before + r"(?:python -m )?m3eval ([a-z]+(?:-[a-z]+)*)", text, re.MULTILINE)
    assert {*named} <= {*NAMES}
    assert named or path in WITHOUT
    old = re.findall(r"python -m m3eval\.\w+", text)
    assert not old or path == "docs/log.md"


@pytest.mark.parametrize("path", [*DOCUMENTS, "CHANGELOG.md"])
def test_lines_end_at_100_columns(path):
    """But those of tables and pictures, which cannot be broken."""
    lines = (ROOT / path).read_text().splitlines()
    kept = [line for line in lines if not line.lstrip().startswith(("|", "!["))]
    assert [line for line in kept if len(line) > 100] == []


def calls(path):
    """The words of every line in a fenced block of a page that calls m3eval."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / path).read_text(), re.DOTALL | re.MULTILINE)
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        for part in line.split(" && "):
            # Behind an environment's folder, or as what a container is given; up to a redirection.
            call = re.search(
                r"(?:^|^\.venv/bin/)m3eval (\w.*)|^docker run .*m3eval:\w+ (\w.*)", part
            )
            if call:
                words = shlex.split(call[1] or call[2], comments=True)
                yield line, list(itertools.takewhile(lambda word: word[0] not in "<>", words))


COMMANDS_OF = [(path, line, words) for path in PAGES for line, words in calls(path)]


def test_pages_have_commands():
    """Else the next test would look at nothing."""
    assert len(COMMANDS_OF) > 80
    assert sum(path == "README.md" for path, *_ in COMMANDS_OF) > 10
    told = (
        ("docs/ci.md", 4),
        ("docs/install.md", 5),
        ("docs/paper.md", 8),
        ("docs/training.md", 7),
    )
    for page, least in told:
        assert sum(path == page for path, *_ in COMMANDS_OF) >= least, page


@pytest.mark.parametrize("path", dict.fromkeys(path for path, *_ in COMMANDS_OF))
def test_commands_of_pages_compose(path):
    """Every setting and choice of a command in a block exists, and its values are taken."""
    wrong = {}
    for page, line, (name, *words) in COMMANDS_OF:
        if page != path:
            continue
        try:
            command = cli.find(name, words)
            options = cli.parse(words)
            if options.help:
                continue
            for one in cli._calls(command, options):
                own, _ = cli._own(command, one)
                made = composition([*command.fixed, *own], command.config)
                refuse(schema.unfit(made.raw))
        except UserError as error:
            wrong[line] = str(error)
    assert not wrong


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_somewhere(path):
    text = re.sub(r"^```.*?^```", "", (ROOT / path).read_text(), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert not [link for link in links if not ((ROOT / path).parent / link).exists()]


def test_the_index_has_every_page():
    text = (ROOT / "docs/README.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= {*re.findall(r"\]\(([^)]+)\)", text)}


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["version"] == __version__
    assert cited["license"] == project["license"]


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
