"""Which examples share a step: of one source and of about one length, so that little is padded.

M3 paper, appendix B.1 to B.3: examples are grouped by length, each group has a batch size of its
own, and a batch is of one group. All processes take their batch of a step from the same group.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from m3eval.errors import UserError


@dataclass(frozen=True)
class LengthGroup:
    """Examples that may share a step."""

    name: str
    size: int  # examples of a process in a step
    members: tuple[int, ...]  # numbers of examples


def length_groups(
    lengths: Sequence[int],
    sources: Sequence[str],
    batch_sizes: Sequence[Sequence[int]],
    by_source: bool,
) -> list[LengthGroup]:
    """Sorts examples into groups.

    Args:
        lengths: [n] tokens of each example's longest text.
        sources: [n] the file of each.
        batch_sizes: pairs of a limit in tokens, and the batch size of examples up to it.
        by_source: examples of different files never share a step.

    Raises:
        UserError: a size is below 1, or an example is longer than every limit.
    """
    said = f"data.batch_sizes={[list(pair) for pair in batch_sizes]}"
    sizes = {pair[0]: pair[1] for pair in batch_sizes}
    if not sizes or min(sizes.values()) < 1:
        raise UserError(f"{said}: pairs of a limit in tokens and a batch size of at least 1.")
    limits = sorted(sizes)
    if (longest := max(lengths, default=0)) > limits[-1]:
        raise UserError(
            f"{said}: the longest text has {longest:,} tokens, above every "
            "limit: add a size for it."
        )
    members: dict[tuple[str, int], list[int]] = {}
    for number, (length, source) in enumerate(zip(lengths, sources, strict=True)):
        limit = next(limit for limit in limits if length <= limit)
        members.setdefault((source if by_source else "", limit), []).append(number)
    return [
        LengthGroup(f"{source} up to {limit} tokens".strip(), sizes[limit], tuple(numbers))
        for (source, limit), numbers in sorted(members.items())
    ]


@dataclass
class Batches:
    """The batches of an epoch: each a list of (epoch, number), one process's share of a step.

    Those of a step follow each other. What does not fill a step waits for the next epoch, whose
    order is another. Texts that a step has already do not come a second time while others wait:
    the document that answers two questions would be a negative of both.
    """

    groups: Sequence[LengthGroup]
    keys: Sequence[frozenset[str]]  # of each example: texts that it must not share a step with
    processes: int
    seed: int
    epoch: int = field(default=0, init=False)
    batch_size: int | None = field(default=None, init=False)  # accelerate asks: it varies
    drop_last: bool = field(default=True, init=False)  # there is no last batch that is smaller

    @property
    def sampler(self) -> Batches:
        """Itself: of several processes, accelerate tells the epoch to a sampler's sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose batches are given next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.processes * sum(self._steps(group) for group in self.groups)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rng, epoch = random.Random(f"{self.seed}/{self.epoch}"), self.epoch
        steps = [(group.size, step) for group in self.groups for step in self._shuffled(group, rng)]
        rng.shuffle(steps)
        for size, step in steps:
            for start in range(0, len(step), size):
                yield [(epoch, number) for number in step[start : start + size]]

    def _steps(self, group: LengthGroup) -> int:
        return len(group.members) // (group.size * self.processes)

    def _shuffled(self, group: LengthGroup, rng: random.Random) -> Iterator[list[int]]:
        """The steps of a group: lists of processes x size examples."""
        waiting = rng.sample(group.members, len(group.members))
        size = group.size * self.processes
        for _ in range(self._steps(group)):
            step, later, seen = [], [], set[str]()
            for place, number in enumerate(waiting):
                if len(step) == size:
                    later += waiting[place:]
                    break
                if seen & self.keys[number]:
                    later.append(number)
                else:
                    step.append(number)
                    seen |= self.keys[number]
            missing = size - len(step)  # nothing else waits
            yield step + later[:missing]
            waiting = later[missing:]
