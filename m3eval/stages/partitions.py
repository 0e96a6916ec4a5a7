"""The lists of parts of a corpus: made by shares of stage 1, merged into those of one search."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from m3eval.buckets import discard
from m3eval.comparable import differences
from m3eval.console import duration, say
from m3eval.errors import UserError
from m3eval.files import sweep, write_json
from m3eval.layout import RunFiles
from m3eval.locks import held
from m3eval.manifests import RunCost, RunManifest
from m3eval.records import plain, read, write
from m3eval.retrievers import finished
from m3eval.retrievers.run import Run, merged, write_run
from m3eval.runtime import Share

Search = Callable[[Share], Run]


@dataclass(frozen=True)
class Partitions:
    """What there is of the lists of parts of one run.

    A part's files are those of a run, sealed like them, before own documents are dropped. It counts
    where it rests on what the whole run is to rest on.
    """

    run: RunFiles
    expected: RunManifest
    qids: Collection[str]
    runtime: str

    def make(self, share: Share, search: Search) -> None:
        """Searches one part and writes its lists, unless they are there.

        Who comes second to a part waits for the first.
        """
        files = self.run.part(*share)
        what = f"Part {share} of {self.run.trec}"
        with held(files.lock, what, f"m3eval search runtime.share={share}", say):
            sweep(files.trec.parent, files.names)
            if self._problem(share) is None:
                say(f"  found finished  part {share} of {self.run.trec}")
                return
            started = time.monotonic()
            lists = search(share)
            discard(files.manifest)
            write_run(files, lists, f"m3eval-{self.run.retriever}")
            seconds = time.monotonic() - started
            write_json(files.cost, plain(RunCost(len(lists), seconds, self.runtime)))
            write(files.manifest, replace(self.expected, files=finished.seal(files)))
        say(f"  written  part {share} of {self.run.trec}  {duration(seconds)}")

    @property
    def of(self) -> int | None:
        """Into how many parts the corpus was cut; None: no part is there.

        Where it was cut in several ways, the one of which the largest share is there.
        """
        shares = [Share(*part) for part in self.run.parts_there()]
        there = Counter(share.of for share in shares if self._problem(share) is None)
        if shares and not there:
            problem = self._problem(shares[0])
            say(f"  no part of {self.run.trec} that is there is used: {problem}")
        return max(there, key=lambda of: (there[of] / of, -of), default=None)

    def missing(self, of: int) -> list[Share]:
        """The parts that are not there, of so many."""
        return [share for n in range(of) if self._problem(share := Share(n, of))]

    def merged(self, of: int, search: Search) -> tuple[Run, float]:
        """The lists of the whole corpus, and the seconds that its parts took elsewhere.

        Parts that are not there are searched here.
        """
        shares = [Share(number, of) for number in range(of)]
        lacking = self.missing(of)
        here = f", {len(lacking)} of them searched here" if lacking else ""
        say(f"  merges {of} parts of {self.run.trec}{here}")
        parts, seconds = [], 0.0
        for share in shares:
            if share in lacking:
                parts.append(search(share))
                continue
            files = self.run.part(*share)
            parts.append(finished.read_run(files, self.qids))
            seconds += read(files.cost, RunCost, finished.REMEDY).seconds
        return merged(parts, self.expected.settings.depth), seconds

    def require_complete(self) -> None:
        """Raises UserError where some parts are there and others are not, and names these."""
        of = self.of
        if of and (lacking := self.missing(of)):
            names = ", ".join(map(str, lacking))
            damaged = [share for share in lacking if self.run.part(*share).manifest.exists()]
            why = f" Part {damaged[0]}: {self._problem(damaged[0])}." if damaged else ""
            raise UserError(
                f"The run {self.run.trec} lacks {len(lacking)} of {of} parts: {names}.{why} Run "
                "`m3eval search runtime.share=` for each of them, or `m3eval search` without it, "
                "which searches what is missing and merges all."
            )

    def remove(self) -> None:
        """Removes all parts: the run is finished, or is to be made anew."""
        discard(self.run.parts)

    def _problem(self, share: Share) -> str | None:
        """Why the lists of a part cannot be taken; None: they can."""
        files = self.run.part(*share)
        if not files.manifest.exists():
            return "it is not there"
        try:
            differing = differences(finished.check(files), self.expected)
        except UserError as error:
            return str(error)
        return str(differing[0].said(("in the part", "configured"))) if differing else None
