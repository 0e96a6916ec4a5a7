"""What a gate says: on the terminal, as Markdown, and as JUnit XML for continuous integration."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree

from m3eval.buckets import discard
from m3eval.console import say
from m3eval.files import whole_file

SHOWN = 10  # queries that moved most
ROWS = 30  # on the terminal
NAMED = 5  # values that cannot fail
MARKDOWN, JUNIT = "gate.md", "junit.xml"
State = Literal["ok", "drift", "wrong"]
# What XML cannot hold, however it is written.
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class ScoreVerdict(NamedTuple):
    """A score held against the expected one; all figures x 100."""

    metric: str
    retriever: str
    language: str
    expected: float
    now: float | None  # None: there is no score any more
    limit: float  # a score that is further off is wrong
    state: State

    @property
    def off(self) -> float:
        """How far the score is off, in points; infinite where it is gone."""
        return math.inf if self.now is None else abs(self.now - self.expected)

    @property
    def bears_everything(self) -> bool:
        """Whether no score from 0 to 100 could be wrong, however far off."""
        return not self.limit < max(self.expected, 100 - self.expected)

    def figures(self) -> tuple[str, str, str]:
        """What was expected, what is there, and the difference, to two decimals."""
        if self.now is None:
            return f"{self.expected:.2f}", "none", "gone"
        return f"{self.expected:.2f}", f"{self.now:.2f}", f"{self.now - self.expected:+.2f}"

    def __str__(self) -> str:
        expected, now, delta = self.figures()
        name = f"{self.metric} {self.retriever} {self.language}"
        return f"{name}: {expected} -> {now} ({delta})"


class MovedQuery(NamedTuple):
    """A query whose result changed."""

    retriever: str
    language: str
    qid: str
    metric: str
    expected: float  # x 100
    now: float | None  # None: the query counts no longer
    overlap: float  # share of the first documents that are the same, 0 to 1
    before: list[str]  # docids, best first
    after: list[str]

    @property
    def points(self) -> float:
        """How far the score moved; infinite where it is gone."""
        return math.inf if self.now is None else abs(self.now - self.expected)

    def __str__(self) -> str:
        before, after = " ".join(self.before[:3]), " ".join(self.after[:3])
        now = "none" if self.now is None else f"{self.now:.1f}"
        return (
            f"{self.retriever} {self.language} {self.qid}: "
            f"{self.metric} {self.expected:.1f} -> {now}, "
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
    elsewhere: tuple[str, ...] = ()  # retrievers whose runs m3eval did not make
    approximate: tuple[str, ...] = ()  # retrievers that find most of what exact search does

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
        return sorted(off, key=lambda row: (row.state != "wrong", -row.off))

    @property
    def warnings(self) -> list[str]:
        """What a reader must know: runs of others, approximate ones, rows that could not fail."""
        told = [f"made elsewhere: {', '.join(self.elsewhere)}"] if self.elsewhere else []
        told += [f"approximate: {', '.join(self.approximate)}"] if self.approximate else []
        blind = [row for row in self.rows if row.bears_everything]
        if not blind:
            return told
        names = ", ".join(
            f"{row.metric} {row.retriever} {row.language} ({row.limit:g})" for row in blind[:NAMED]
        )
        more = f" and {len(blind) - NAMED} more" if len(blind) > NAMED else ""
        return [
            *told,
            f"{len(blind)} of {len(self.rows)} values cannot fail, for their tolerance covers "
            f"the whole scale: {names}{more}",
        ]


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
    for line in report.warnings:
        say(f"warning  {line}")
    say(report.summary)


def remove(folder: Path) -> None:
    """Removes what an earlier gate said: it must not outlive a run that ends in an error."""
    for name in (MARKDOWN, JUNIT):
        discard(folder / name)


def write(report: GateReport, folder: Path) -> list[Path]:
    """Writes gate.md and junit.xml; returns their paths.

    Where GITHUB_STEP_SUMMARY names a file, the Markdown is added to that file, too.
    """
    markdown = _markdown(report)
    with whole_file(folder / MARKDOWN) as part:
        part.write_text(markdown, encoding="utf-8")
    with whole_file(folder / JUNIT) as part:
        _junit(report).write(part, encoding="utf-8", xml_declaration=True)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown)
    return [folder / MARKDOWN, folder / JUNIT]


def _markdown(report: GateReport) -> str:
    lines = [f"### Gate: {report.title}", "", report.summary, ""]
    lines += [part for line in report.warnings for part in (f"Warning: {line}", "")]
    if report.off:
        lines += [
            "| state | metric | retriever | language | expected | got | delta | allowed |",
            "|---|---|---|---|---:|---:|---:|---:|",
        ]
        for row in report.off:
            figures = " | ".join(row.figures())
            lines.append(
                f"| {row.state} | {row.metric} | {row.retriever} | {row.language} "
                f"| {figures} | {row.limit:.2f} |"
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
        name=_xml(f"m3eval.gate: {report.title}"),
        tests=str(len(report.rows)),
        failures=str(failures),
        errors="0",
    )
    for row in report.rows:
        name = _xml(f"{row.metric}.{row.retriever}")
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=_xml(row.language))
        if row.state in failing:
            failure = ElementTree.SubElement(
                case, "failure", message=_xml(f"{row.state}: {row}"), type=row.state
            )
            failure.text = _xml(
                "\n".join(
                    str(query)
                    for query in report.moved
                    if (query.retriever, query.language) == (row.retriever, row.language)
                )
            )
        elif row.state == "drift":
            ElementTree.SubElement(case, "system-out").text = _xml(f"drift: {row}")
    if report.warnings:
        ElementTree.SubElement(suite, "system-out").text = _xml("\n".join(report.warnings))
    return ElementTree.ElementTree(suite)


def _xml(text: str) -> str:
    """Text with escapes in place of the characters that XML cannot hold."""
    return NOT_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
