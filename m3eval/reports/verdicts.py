"""What a gate says: on the terminal, as Markdown, and as JUnit XML for continuous integration."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree

from m3eval.console import say
from m3eval.files import whole_file

SHOWN = 10  # queries that moved most
ROWS = 30  # on the terminal


class ScoreVerdict(NamedTuple):
    """A score held against the expected one; all figures x 100."""

    metric: str
    retriever: str
    language: str
    expected: float
    now: float
    limit: float  # a score that is further off is wrong
    state: Literal["ok", "drift", "wrong"]

    def __str__(self) -> str:
        scores = f"{self.expected:.2f} -> {self.now:.2f} ({self.now - self.expected:+.2f})"
        return f"{self.metric} {self.retriever} {self.language}: {scores}"


class MovedQuery(NamedTuple):
    """A query whose result changed."""

    retriever: str
    language: str
    qid: str
    metric: str
    expected: float  # x 100
    now: float
    overlap: float  # share of the first documents that are the same, 0 to 1
    before: list[str]  # docids, best first
    after: list[str]

    def __str__(self) -> str:
        before, after = " ".join(self.before[:3]), " ".join(self.after[:3])
        return (
            f"{self.retriever} {self.language} {self.qid}: "
            f"{self.metric} {self.expected:.1f} -> {self.now:.1f}, "
            f"overlap {self.overlap:.0%}, first {before} -> {after}"
        )


@dataclass(frozen=True)
class GateReport:
    """Everything a gate says."""

    title: str
    rows: list[ScoreVerdict]
    moved: list[MovedQuery]
    changed: list[str]  # differences in how the runs were made, which forbid no comparison
    left_out: int  # cells of the gate that no run was held against
    strict: bool  # whether drift shuts the gate, too

    @property
    def state(self) -> str:
        """The worst state of all rows."""
        states = {row.state for row in self.rows}
        return next(state for state in ("wrong", "drift", "ok") if state in states or state == "ok")

    @property
    def failed(self) -> bool:
        """Whether the gate is shut."""
        return self.state == "wrong" or (self.strict and self.state == "drift")

    @property
    def summary(self) -> str:
        """The verdict in one sentence."""
        counts = Counter(row.state for row in self.rows)
        parts = ", ".join(f"{counts[state]} {state}" for state in ("ok", "drift", "wrong"))
        rest = (
            f"; {self.left_out} cells of the gate are not among these runs" if self.left_out else ""
        )
        verdict = "FAILED" if self.failed else self.state.upper()
        return f"{verdict}: {parts} of {len(self.rows)} values; {len(self.moved)} lists moved{rest}"

    @property
    def off(self) -> list[ScoreVerdict]:
        """The rows that moved, wrong ones first, then by how far."""
        off = [row for row in self.rows if row.state != "ok"]
        return sorted(off, key=lambda row: (row.state != "wrong", -abs(row.now - row.expected)))


def show(report: GateReport) -> None:
    """Prints the rows that moved, the queries that moved most, and the verdict."""
    for row in report.off[:ROWS]:
        say(f"{row.state:6} {row}, allowed {row.limit:.2f}")
    if len(report.off) > ROWS:
        say(f"  and {len(report.off) - ROWS} more rows, in gate.md")
    for query in report.moved[:SHOWN]:
        say(f"  moved  {query}")
    for line in report.changed:
        say(f"  made otherwise  {line}")
    say(report.summary)


def write(report: GateReport, folder: Path) -> list[Path]:
    """Writes gate.md and junit.xml; returns their paths.

    Where GITHUB_STEP_SUMMARY names a file, the Markdown is added to that file, too.
    """
    markdown = _markdown(report)
    with whole_file(folder / "gate.md") as part:
        part.write_text(markdown, encoding="utf-8")
    with whole_file(folder / "junit.xml") as part:
        _junit(report).write(part, encoding="utf-8", xml_declaration=True)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown)
    return [folder / "gate.md", folder / "junit.xml"]


def _markdown(report: GateReport) -> str:
    lines = [f"### Gate: {report.title}", "", report.summary, ""]
    if report.off:
        lines += [
            "| state | metric | retriever | language | expected | got | delta | allowed |",
            "|---|---|---|---|---:|---:|---:|---:|",
        ]
        for row in report.off:
            delta = row.now - row.expected
            lines.append(
                f"| {row.state} | {row.metric} | {row.retriever} | {row.language} "
                f"| {row.expected:.2f} | {row.now:.2f} | {delta:+.2f} | {row.limit:.2f} |"
            )
        lines.append("")
    if report.moved:
        lines += [
            "Queries that moved most:",
            "",
            *(f"- {query}" for query in report.moved[:SHOWN]),
            "",
        ]
    if report.changed:
        lines += ["Made otherwise:", "", *(f"- {line}" for line in report.changed), ""]
    return "\n".join(lines) + "\n"


def _junit(report: GateReport) -> ElementTree.ElementTree:
    """One test case per score. It fails where the score shuts the gate; other drift is output."""
    failing = {"wrong", "drift"} if report.strict else {"wrong"}
    failures = sum(row.state in failing for row in report.rows)
    suite = ElementTree.Element(
        "testsuite",
        name=f"m3eval.gate: {report.title}",
        tests=str(len(report.rows)),
        failures=str(failures),
        errors="0",
    )
    for row in report.rows:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{row.metric}.{row.retriever}", name=row.language
        )
        if row.state in failing:
            failure = ElementTree.SubElement(
                case, "failure", message=f"{row.state}: {row}", type=row.state
            )
            failure.text = "\n".join(
                str(query)
                for query in report.moved
                if (query.retriever, query.language) == (row.retriever, row.language)
            )
        elif row.state == "drift":
            ElementTree.SubElement(case, "system-out").text = f"drift: {row}"
    return ElementTree.ElementTree(suite)
