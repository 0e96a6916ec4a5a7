"""Writing a store shard by shard: resumable, and never of two minds.

{store}/plan.json         what is being written; there from the start, gone at the end
{store}/shards/00000/     see shard.py; each appears whole or not at all
{store}/cost.json         tokens that the last run encoded, its seconds, and on what
{store}/manifest.json     the plan and the totals; written last, so its presence means finished
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m3eval.encoders.representations import Representations
from m3eval.errors import UserError
from m3eval.files import write_json
from m3eval.manifests import read_record
from m3eval.stores import compression, shard


class StoreWriter:
    """Opens a store for writing: new, half-written by an earlier run of the same plan, or finished."""

    def __init__(self, path: Path, plan: dict[str, Any], overwrite: bool = False) -> None:
        """Compares the plan with what is on disk; writes nothing yet.

        Args:
            path: folder of the store.
            plan: all that decides its content: `texts`, `encoder`, `representations`, `shard_size`, `dense` if compressed,
                and `made_with` (library versions and device), which must agree within a store but not between it and its
                reader; `commits` tells whence the texts came and never need agree: their hash is in `texts`.
            overwrite: replace whatever is there, but not before `start`.

        Raises:
            UserError: the folder holds vectors that were made otherwise; names each difference.
        """
        self.path, self.plan, self.overwrite = path, plan, overwrite
        self.finished = False
        if overwrite:
            return
        manifest, half = path / "manifest.json", path / "plan.json"
        self.finished = manifest.exists()
        if self.finished:
            found = read_record(manifest)["plan"]
            # More than what is asked for is as good; another library's version made it is no reason to make it again.
            enough = set(plan["representations"]) <= set(found["representations"])
            ignored = {"made_with", "shard_size", "commits"} | (
                {"representations"} if enough else set()
            )
            self._refuse(differences(found, plan, ignored), "is finished, but was made otherwise")
        elif half.exists():
            self._refuse(
                differences(read_record(half), plan, {"commits"}),
                "is half-written, and what is there was made otherwise",
            )

    @classmethod
    def reopened(cls, path: Path) -> StoreWriter:
        """A store that another process of the same run has started."""
        return cls(path, read_record(path / "plan.json"))

    @property
    def resumed(self) -> int:
        """How many shards an interrupted run left."""
        return 0 if self.overwrite else len(list((self.path / "shards").glob("[0-9]*")))

    def start(self) -> None:
        """Puts down the plan."""
        if self.overwrite:
            shutil.rmtree(self.path, ignore_errors=True)
        write_json(self.path / "plan.json", self.plan)

    def has(self, index: int) -> bool:
        """Whether a shard is there, and thus whole."""
        return self._shard(index).exists()

    def write(self, index: int, ids: Sequence[str], found: Representations) -> None:
        """Writes one shard."""
        shard.write_shard(self._shard(index), ids, found, compression.of(self.plan))

    def finish(self, cost: dict[str, Any] | None = None) -> dict[str, Any]:
        """Writes the manifest and returns it: the store is finished now.

        `cost`, what the encoding took, goes to a file of its own: it is no part of what a store is.
        """
        shards = sorted((self.path / "shards").glob("[0-9]*"))
        summaries = [shard.summary(path) for path in shards]
        totals = {
            key: sum(summary[key] for summary in summaries)
            for key in ("texts", "tokens", "truncated")
        }
        if totals["texts"] != self.plan["texts"]["count"]:
            raise UserError(
                f"{self.path}: {totals['texts']:,} texts were written, {self.plan['texts']['count']:,} were counted before: "
                "the corpus changed while it was read. Remove the folder and start again."
            )
        sizes = {
            name: sum(shard.size(path, name) for path in shards)
            for name in self.plan["representations"]
        }
        counts = [summary["texts"] for summary in summaries]
        manifest = {"plan": self.plan, "totals": totals, "shards": counts, "bytes": sizes}
        if cost:
            write_json(self.path / "cost.json", cost)
        write_json(self.path / "manifest.json", manifest)
        (self.path / "plan.json").unlink(missing_ok=True)
        for leftover in (self.path / "shards").glob(".*.part"):
            shutil.rmtree(leftover)
        return manifest

    def _shard(self, index: int) -> Path:
        return self.path / "shards" / f"{index:05d}"

    def _refuse(self, found: list[str], what: str) -> None:
        if found:
            lines = "".join(f"\n  {line}" for line in found)
            raise UserError(
                f"The store {self.path} {what}:{lines}\n"
                "Vectors that differ are never mixed: choose another output_dir=, or set overwrite=true to replace it."
            )


def differences(
    found: Any,
    wanted: Any,
    ignored: set[str] = frozenset(),
    where: str = "",
    words: tuple[str, str] = ("there", "asked for"),
) -> list[str]:
    """Every leaf in which two nested dictionaries differ, as 'key: X there, Y asked for', or in other words."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return [] if found == wanted else [f"{where}: {found!r} {words[0]}, {wanted!r} {words[1]}"]
    lines = []
    for key in sorted({*found, *wanted} - ignored):
        lines += differences(
            found.get(key), wanted.get(key), frozenset(), f"{where}.{key}" if where else key, words
        )
    return lines
