"""May two things be set side by side? One comparison of records, and one verdict for everybody.

Stages ask whether a store or a run is what is configured now. `compare`, `gate`, `tune` and the
site ask whether two runs differ in more than their systems. Tables ask whether a published number
was made as the runs were. The answer names each obstacle and describes it in a sentence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from m3eval.errors import UserError
from m3eval.manifests import RunManifest, StorePlan, TextIdentity
from m3eval.records import compared

HASHES = ("sum", "sha256")  # of texts, see `TextIdentity`
LONGEST = 200  # characters of a value that sentences show


def brief(value: str) -> str:
    """A value as a sentence can bear it: a list may have thousands of items."""
    return value if len(value) <= LONGEST else f"{value[:LONGEST]}…"


class Difference(NamedTuple):
    """A value that two records do not share."""

    where: str  # dotted: texts.corpus-ko.max_length
    left: Any
    right: Any

    def said(self, words: tuple[str, str] = ("there", "asked for")) -> Obstacle:
        """The difference as an obstacle; the words say which record has which value."""
        left, right = (brief(repr(value)) for value in (self.left, self.right))
        sentence = f"{self.where}: {left} {words[0]}, {right} {words[1]}"
        name = self.where.rpartition(".")[2]
        if name in HASHES and None in (self.left, self.right):
            sentence += " (early versions hashed texts otherwise than shares do: whether these are "
            sentence += "the same cannot be told. Make the older one again)"
        return Obstacle(name, sentence)


class Obstacle(NamedTuple):
    """Why two things may not be set side by side."""

    name: str  # of the setting that differs, by which a user may accept it
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Comparable:
    """The verdict: true where nothing stands in the way."""

    obstacles: tuple[Obstacle, ...] = ()

    @classmethod
    def by(
        cls, differing: Iterable[Difference], words: tuple[str, str] = ("there", "asked for")
    ) -> Comparable:
        """The verdict where every difference is an obstacle."""
        return cls(tuple(difference.said(words) for difference in differing))

    def __bool__(self) -> bool:
        return not self.obstacles

    def __add__(self, other: Comparable) -> Comparable:
        return Comparable(tuple(dict.fromkeys(self.obstacles + other.obstacles)))

    def within(self, place: str) -> Comparable:
        """The same verdict, with the place that it is about before every sentence."""
        return Comparable(
            tuple(Obstacle(name, f"{place}: {sentence}") for name, sentence in self.obstacles)
        )

    def accepting(self, names: Collection[str]) -> tuple[Comparable, list[str]]:
        """The verdict without the obstacles that a user accepts by name, and their sentences."""
        left = tuple(obstacle for obstacle in self.obstacles if obstacle.name not in names)
        accepted = [str(obstacle) for obstacle in self.obstacles if obstacle.name in names]
        return Comparable(left), accepted

    def require(self, problem: str, remedy: str = "") -> None:
        """Raises UserError where something stands in the way: with all obstacles and the remedy."""
        if self.obstacles:
            lines = "".join(f"\n  {obstacle}" for obstacle in self.obstacles)
            raise UserError(f"{problem}:{lines}" + (f"\n{remedy}" if remedy else ""))


def differences(
    left: Any, right: Any, ignored: Collection[str] = (), where: str = ""
) -> list[Difference]:
    """Every value that counts in which two records, or two trees of plain values, differ.

    Args:
        left: a record or plain values.
        right: another.
        ignored: keys of the outermost level that do not count.
        where: what stands before the dotted name of a value.
    """
    return list(_differing(compared(left), compared(right), ignored, where))


def _differing(left: Any, right: Any, ignored: Collection[str], where: str) -> Iterator[Difference]:
    if not (isinstance(left, dict) and isinstance(right, dict)):
        if left != right:
            yield Difference(where, left, right)
        return
    for key in sorted({*left, *right} - {*ignored} - _not_in_both(left, right)):
        place = f"{where}.{key}" if where else key
        yield from _differing(left.get(key), right.get(key), (), place)


def _not_in_both(left: Mapping[str, Any], right: Mapping[str, Any]) -> set[str]:
    """The hashes of texts that only one has, where there is one that both have.

    Early versions knew one hash, what is made in shares has another, most records have both.
    """
    in_both = {name for name in HASHES if left.get(name) and right.get(name)}
    return {*HASHES} - in_both if in_both else set()


def same_texts(
    recorded: Mapping[str, TextIdentity],
    configured: Iterable[TextIdentity],
    words: tuple[str, str] = ("there", "asked for"),
) -> Comparable:
    """Whether recorded texts are those configured now, by their rules, number and hash.

    Where their files lie, and how the benchmark is judged, does not count.
    """
    differing = [
        difference
        for texts in configured
        for difference in differences(recorded.get(texts.set), texts, where=f"texts.{texts.set}")
    ]
    return Comparable.by(differing, words)


def same_store(recorded: StorePlan, wanted: StorePlan, finished: bool) -> Comparable:
    """Whether a store holds what a plan asks for or, half-written, may be completed by it.

    A finished store may have been made with other versions of libraries, and may hold more
    representations than are asked for. All shards of one store must be made alike.

    What is in the texts counts only where both know it. A half-written store does not: each of its
    shards is held against its texts when they are read.
    """
    if recorded.texts.count is None or wanted.texts.count is None:
        recorded, wanted = recorded.rules, wanted.rules
    ignored = set()
    if finished:
        ignored |= {"made_with", "shard_size"}
        if {*wanted.representations} <= {*recorded.representations}:
            ignored.add("representations")
    return Comparable.by(differences(recorded, wanted, ignored))


def same_but_system(
    run: RunManifest, other: RunManifest, deepest: float, words: tuple[str, str]
) -> Comparable:
    """Whether two runs of one language differ in nothing but their systems.

    Texts and the rule about a query's own document must agree. Depths of one kind of retriever must
    agree too, also of what it builds on. Kinds that the benchmark's protocol searches to different
    depths are compared as far as the shallower run goes.

    Args:
        run: a run.
        other: another.
        deepest: the largest cutoff of the metrics; infinite where one has none.
        words: what the two are called in sentences.
    """
    left, right = run.settings, other.settings
    same_kind = left.target == right.target
    differing = differences(run.texts, other.texts, where="texts")
    differing += differences(left.exclude_self, right.exclude_self, where="exclude_self")
    if same_kind or deepest > min(left.depth, right.depth):
        differing += differences(left.depth, right.depth, where="depth")
    if same_kind:
        for name in sorted({*run.inputs} & {*other.inputs}):
            depth, other_depth = (each.inputs[name].settings.depth for each in (run, other))
            differing += differences(depth, other_depth, where=f"inputs.{name}.depth")
    return Comparable.by(differing, words)


def all_alike(runs: Mapping[str, RunManifest], deepest: float) -> Comparable:
    """Whether runs of one language differ from the first in nothing but their systems.

    Args:
        runs: by what they are called.
        deepest: as for `same_but_system`.
    """
    (first, run), *others = runs.items()
    verdict = Comparable()
    for name, other in others:
        verdict += same_but_system(run, other, deepest, (f"in {first}", f"in {name}"))
    return verdict
