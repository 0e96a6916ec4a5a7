"""What stores are, on the terminal: of which texts, by which encoder, how big, finished or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from m3eval.console import console, duration, say, size
from m3eval.layout import StoreFiles
from m3eval.manifests import REPRESENTATIONS, StoreCost, StoreManifest, StorePlan
from m3eval.records import read
from m3eval.reports.runs import UNKNOWN, table_of


@dataclass(frozen=True)
class StoreOnDisk:
    """A store that is finished, or half-written."""

    files: StoreFiles

    @cached_property
    def manifest(self) -> StoreManifest | None:
        """What the store holds; None: it is half-written."""
        finished = self.files.manifest.exists()
        return read(self.files.manifest, StoreManifest) if finished else None

    @cached_property
    def plan(self) -> StorePlan:
        """All that decides its content."""
        return self.manifest.plan if self.manifest else read(self.files.plan, StorePlan)

    @property
    def count(self) -> int:
        """Texts of the set."""
        return self.plan.texts.count or 0

    @cached_property
    def bytes(self) -> dict[str, int]:
        """Bytes on disk by representation, and of everything else."""
        return bytes_of(self.files.folder)

    @cached_property
    def cost(self) -> StoreCost | None:
        """What stage 0 measured; None: nothing is known."""
        return read(self.files.cost, StoreCost) if self.files.cost.exists() else None

    @property
    def encoding(self) -> str:
        """Time and tokens per second of the encoding."""
        if self.cost is None:
            return UNKNOWN
        rate = self.cost.tokens / self.cost.seconds
        attention = f", attention {self.cost.attention}" if self.cost.attention else ""
        where = f"{self.cost.runtime}{attention}"
        return f"{duration(self.cost.seconds)}, {rate:,.0f} tokens/s on {where}"


def bytes_of(folder: Path) -> dict[str, int]:
    """Bytes of the files in a store's folder, by representation, and of everything else."""
    sizes: dict[str, int] = defaultdict(int)
    for file in folder.rglob("*"):
        if file.is_file():
            known = (name for name in REPRESENTATIONS if file.name.startswith(name))
            sizes[next(known, "other")] += file.stat().st_size
    return dict(sizes)


def show_store(files: StoreFiles) -> None:
    """A store in full."""
    store = StoreOnDisk(files)
    texts, encoder = store.plan.texts, store.plan.encoder
    shards = len(files.written_shards())
    half = f"half-written: {shards} shards; run `m3eval embed` again to go on"
    say(f"store      {files.folder}")
    say(f"state      {'finished' if store.manifest else half}")
    say(f"texts      {store.count:,} of {texts.benchmark} {texts.split}, {texts.set}")
    say(f"           at most {texts.max_length} tokens; {texts.hash}")
    if texts.document_fields:
        say(
            f"           {' + '.join(texts.document_fields)}, joined by {texts.joint!r}, "
            f"normalised: {texts.normalize}"
        )
    settings = [f"{key} {value}" for key, value in encoder.items() if key not in ("name", "files")]
    say(f"encoder    {encoder.name}: {', '.join(settings)}")
    for name, sha256 in encoder.files.items():
        say(f"           {name} {sha256}")
    for name, commit in store.plan.commits.items():
        say(f"commit     {name} {commit}")
    versions = (f"{name} {version}" for name, version in store.plan.made_with.items())
    say(f"made with  {', '.join(versions)}")
    say(f"size       {size(sum(store.bytes.values()))} in all")
    for name, n in sorted(store.bytes.items()):
        say(f"           {size(n):>9}  {n / store.count:>10,.0f} bytes a text  {name}")
    if store.manifest:
        totals = store.manifest.totals
        mean = totals.tokens / totals.texts
        say(f"tokens     {totals.tokens:,}, {mean:.1f} a text; {totals.truncated:,} texts were cut")
        say(f"cost       {store.encoding}")


def show_stores(stores: Iterable[StoreFiles]) -> None:
    """A line for each store."""
    sizes = [f"{name} B/text" for name in REPRESENTATIONS]
    shown = table_of("stores", "store", "state", "texts", "tokens", "cut", "size", *sizes, "cost")
    for files in stores:
        store = StoreOnDisk(files)
        totals = store.manifest.totals if store.manifest else None
        shown.add_row(
            files.folder.name,
            "finished" if totals else "half-written",
            f"{store.count:,}",
            *((f"{totals.tokens:,}", f"{totals.truncated:,}") if totals else (UNKNOWN, UNKNOWN)),
            size(sum(store.bytes.values())),
            *(
                f"{store.bytes[name] / store.count:,.0f}" if name in store.bytes else UNKNOWN
                for name in REPRESENTATIONS
            ),
            store.encoding,
        )
    console.print(shown)
