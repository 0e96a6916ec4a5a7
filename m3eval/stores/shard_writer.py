"""Where the shards of one store go, whoever encodes them: in this process or in others."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from m3eval.bucket import Origin
from m3eval.buckets import discard, register
from m3eval.content import Content
from m3eval.encoders.representations import Representations
from m3eval.errors import UserError
from m3eval.layout import StoreFiles
from m3eval.manifests import StorePlan
from m3eval.records import write
from m3eval.stores import compression, shard
from m3eval.stores.found import plan_digest

PARSED = ".parsed"  # ending of the files of `Parsed`


@dataclass(frozen=True)
class Parsed:
    """What the shards that a process parsed came to: see `ShardWriter.leave_parsed`."""

    sums: dict[str, str]
    sealed: str | None = field(default=None, metadata={"optional": True})


@dataclass(frozen=True)
class ShardWriter:
    """Where the shards of a store go; what other processes of a run are given."""

    files: StoreFiles
    plan: StorePlan

    replaces: bool = False  # a shard of other texts gives way
    sizes: Sequence[int] | None = None  # texts of each shard of a finished store
    origin: Origin | None = None  # where shards are put, too

    def has(self, number: int, content: Content | None = None) -> bool:
        """Whether a shard of these texts is there, and thus whole; None: of whatever texts.

        Raises:
            UserError: one of other texts is.
        """
        path = self.files.shard(number)
        if not path.exists():
            return False
        there = shard.record(path).content if content else None
        if content is None or there is None or there == content:  # early versions do not say it
            return True
        if self.replaces:
            discard(path)
            return False
        raise UserError(
            f"{path} is of other texts than its place in the corpus has now (its {there.count:,} "
            f"texts begin with {there.first!r}, now {content.count:,} begin with "
            f"{content.first!r}; sum {there.sum[:12]}, now {content.sum[:12]}): the corpus changed "
            "since it was made. Use the texts of then, or overwrite=true to make the store anew."
        )

    def leave_parsed(self, parsed: Mapping[str, str]) -> None:
        """Notes for whoever finishes the store what this process parsed.

        Args:
            parsed: digest of what a shard's texts are made of -> `Content.sum` of them.
        """
        name = f"{os.getpid()}-{secrets.token_hex(4)}{PARSED}"
        write(self.files.costs / name, Parsed(dict(parsed)))

    def end(self, shards: int) -> None:
        """Says that the texts fill so many shards. Raises UserError where more are there."""
        beyond = [path for path in self.files.written_shards() if int(path.name) >= shards]
        if beyond and not self.replaces:
            raise UserError(
                f"{beyond[0]} is behind the last text of its corpus, which fills {shards:,} "
                "shards now: the corpus changed since it was made. Use the texts of then, or "
                "overwrite=true to make the store anew."
            )
        for path in beyond:
            discard(path)

    def write(
        self,
        number: int,
        ids: Sequence[str],
        vectors: Representations,
        content: Content | None = None,
    ) -> None:
        """Writes one shard.

        Args:
            number: of the shard.
            ids: of its texts.
            vectors: what the encoder gave for them.
            content: what the texts are; None where a store is of none, as in a trial.
        """
        register(self.origin)  # in a process of its own nobody else has
        shard.write_shard(
            self.files.shard(number),
            ids,
            vectors,
            compression.of(self.plan.dense),
            plan_digest(self.plan),
            content,
        )
