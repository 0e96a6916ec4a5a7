"""A pytest plugin: skips are declared.

tests/skips.toml lists the skips that are allowed, each with its reason. Every run ends with the
skips that happened. With M3EVAL_NO_SKIPS=1 a skip outside the list fails the test, and entries that
no skip used are shown. The plugin works on test reports, so pytest-xdist's workers change nothing.
"""

from __future__ import annotations

import os
import tomllib
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

Report = pytest.TestReport | pytest.CollectReport


@dataclass(frozen=True)
class Allowed:
    """An entry of tests/skips.toml. Patterns have `*` for any characters."""

    tests: str
    """A pattern of test ids, as pytest prints them."""
    says: str
    """A pattern of what the skip says."""
    why: str
    """Why continuous integration does without these tests."""

    def covers(self, test: str, said: str) -> bool:
        return fnmatchcase(test, self.tests) and fnmatchcase(said, self.says)


class DeclaredSkips:
    """Fails or counts the skips of one run."""

    def __init__(self, allowed: list[Allowed], strict: bool) -> None:
        self.allowed = allowed
        self.strict = strict
        self.skipped: dict[tuple[Allowed | None, str], int] = defaultdict(int)

    # tryfirst: the outermost wrapper sees what pytest has made of marks and expected failures.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, Report, Report]:
        return self._judged((yield))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(self) -> Generator[None, Report, Report]:
        return self._judged((yield))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._count(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._count(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        used = {entry for entry, _ in self.skipped}
        unused = [entry for entry in self.allowed if entry not in used] if self.strict else []
        if not self.skipped and not unused:
            return
        terminalreporter.section("skips")
        for (entry, said), count in self.skipped.items():
            verdict = f"allowed: {entry.why}" if entry else "not in the list of allowed skips"
            terminalreporter.write_line(f"{count} skipped, {said} ({verdict})")
        for entry in unused:
            terminalreporter.write_line(
                f"0 skipped by the entry tests={entry.tests!r} says={entry.says!r}"
            )

    def _judged(self, report: Report) -> Report:
        said = _said(report)
        if self.strict and said is not None and self._entry(report.nodeid, said) is None:
            report.outcome = "failed"
            report.longrepr = (
                f"{report.nodeid} was skipped: {said}\n"
                "M3EVAL_NO_SKIPS=1 allows only the skips in tests/skips.toml. Install what the "
                "test needs, or add an entry that says why it cannot be had."
            )
        return report

    def _count(self, report: Report) -> None:
        said = _said(report)
        if said is not None:
            self.skipped[self._entry(report.nodeid, said), said] += 1

    def _entry(self, test: str, said: str) -> Allowed | None:
        return next((entry for entry in self.allowed if entry.covers(test, said)), None)


def _said(report: Report) -> str | None:
    """What a skip says; None for everything that is no skip, an expected failure among them."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return None
    match report.longrepr:
        case (_, _, str(message)):
            return message.removeprefix("Skipped: ")
    return str(report.longrepr)


def read(path: Path) -> list[Allowed]:
    """The entries of a list of allowed skips."""
    return [Allowed(**entry) for entry in tomllib.loads(path.read_text()).get("allowed", [])]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("allowed_skips", "list of allowed skips", default="tests/skips.toml")


def pytest_configure(config: pytest.Config) -> None:
    allowed = read(config.rootpath / config.getini("allowed_skips"))
    strict = os.environ.get("M3EVAL_NO_SKIPS") == "1"
    config.pluginmanager.register(DeclaredSkips(allowed, strict), "declared skips")
