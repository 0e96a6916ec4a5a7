"""The world of the faults, and the table at the end: class, cases, survived, seconds."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.report import PATH, write_rows
from tests.faults.tally import Row, Tally, markdown
from tests.faults.world import World, Zygote

reports: list[pytest.TestReport] = []


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of files are written, each to disk."""
    shared = Path("/dev/shm")
    folder = Path(
        tempfile.mkdtemp(prefix="m3eval-faults-", dir=shared if shared.exists() else None)
    )
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place(memory) -> Iterator[Path]:
    """A folder of the test's own in it."""
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.stop()


@pytest.fixture(scope="session")
def world(zygote, memory) -> World:
    """A corpus of two languages; to be read only."""
    world = World(memory / "corpora", zygote)
    world.make()
    return world


@pytest.fixture(scope="session")
def undisturbed(world, memory) -> Path:
    """The output folder of the three stages without a fault; to be read only."""
    output = memory / "undisturbed"
    ended = world.run("run", output)
    assert ended.status == 0, ended
    return output


@pytest.fixture
def tally(request) -> Tally:
    """Counts the cases of a test in the row of its module, `CLASS`."""
    tally = Tally(request.module.CLASS)
    request.node.user_properties.append(("tally", tally))
    return tally


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A report travels between processes: it takes numbers with it, not objects."""
    report = (yield).get_result()
    kind = getattr(item.module, "CLASS", None)
    if kind is not None:
        kept = dict(item.user_properties).get("tally")
        cases = kept.cases if kept else 1
        lost = len(kept.lost) if kept else int(report.failed)
        report.user_properties = [("faults", (kind, cases, cases - lost if cases else 0))]


def pytest_runtest_logreport(report):
    if dict(report.user_properties).get("faults"):
        reports.append(report)


def pytest_terminal_summary(terminalreporter, config):
    """Prints the table; `make faults` has it written, too."""
    rows: dict[str, Row] = {}
    for report in reports:
        kind, cases, survived = dict(report.user_properties)["faults"]
        if report.when != "call" or report.skipped:
            cases = survived = 0
        row = rows.get(kind, Row(kind, 0, 0, 0.0, time.strftime("%Y-%m-%d")))
        rows[kind] = row._replace(
            cases=row.cases + cases,
            survived=row.survived + survived,
            seconds=row.seconds + report.duration,
        )
    if not rows:
        return
    terminalreporter.section("faults")
    terminalreporter.write(markdown([rows[kind] for kind in sorted(rows)]))
    if config.getoption("--reliability"):
        write_rows(rows)
        terminalreporter.write_line(f"written  {PATH}")
