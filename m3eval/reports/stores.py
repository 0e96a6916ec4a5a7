"""What stores are, on the terminal: of which texts, by which encoder, how big, finished or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from m3eval.console import console, duration, say, size
from m3eval.encoders.representations import REPRESENTATIONS
from m3eval.manifests import read_record
from m3eval.reports.runs import UNKNOWN, table


def bytes_of(path: Path) -> dict[str, int]:
    """Bytes on disk by representation, and of everything else."""
    found: dict[str, int] = defaultdict(int)
    for file in path.rglob("*"):
        if file.is_file():
            found[
                next((name for name in REPRESENTATIONS if file.name.startswith(name)), "other")
            ] += file.stat().st_size
    return dict(found)


def show_store(path: Path) -> None:
    """A store in full."""
    finished = (path / "manifest.json").exists()
    manifest = (
        read_record(path / "manifest.json")
        if finished
        else {"plan": read_record(path / "plan.json")}
    )
    plan, on_disk = manifest["plan"], bytes_of(path)
    texts, encoder = plan["texts"], plan["encoder"]
    shards = len(list((path / "shards").glob("[0-9]*")))
    say(f"store      {path}")
    say(
        "state      "
        + (
            "finished"
            if finished
            else f"half-written: {shards} shards; run step0_embed.py again to go on"
        )
    )
    say(f"texts      {texts['count']:,} of {texts['benchmark']} {texts['split']}, {texts['set']}")
    say(f"           at most {texts['max_length']} tokens; sha256 {texts['sha256']}")
    if texts["document_fields"]:
        say(
            f"           {' + '.join(texts['document_fields'])}, joined by {texts['joint']!r}, normalised: {texts['normalize']}"
        )
    settings = [
        f"{name} {value}" for name, value in encoder.items() if name not in ("name", "files")
    ]
    say(f"encoder    {encoder['name']}: {', '.join(settings)}")
    for name, sha256 in encoder.get("files", {}).items():
        say(f"           {name} {sha256}")
    for name, commit in plan.get("commits", {}).items():
        say(f"commit     {name} {commit}")
    say(
        f"made with  {', '.join(f'{name} {version}' for name, version in plan['made_with'].items())}"
    )
    say(f"size       {size(sum(on_disk.values()))} in all")
    for name, n in sorted(on_disk.items()):
        say(f"           {size(n):>9}  {n / texts['count']:>10,.0f} bytes a text  {name}")
    if finished:
        totals = manifest["totals"]
        mean = totals["tokens"] / totals["texts"]
        say(
            f"tokens     {totals['tokens']:,}, {mean:.1f} a text; {totals['truncated']:,} texts were cut"
        )
        say(f"cost       {encoding_cost(path)}")


def show_stores(paths: Sequence[Path]) -> None:
    """A line for each store."""
    sizes = [f"{name} B/text" for name in REPRESENTATIONS]
    found = table("stores", "store", "state", "texts", "tokens", "cut", "size", *sizes, "cost")
    for path in paths:
        finished = (path / "manifest.json").exists()
        manifest = read_record(path / ("manifest.json" if finished else "plan.json"))
        count = (manifest["plan"] if finished else manifest)["texts"]["count"]
        on_disk, totals = bytes_of(path), manifest.get("totals", {})
        found.add_row(
            path.name,
            "finished" if finished else "half-written",
            f"{count:,}",
            *(
                f"{totals[name]:,}" if name in totals else UNKNOWN
                for name in ("tokens", "truncated")
            ),
            size(sum(on_disk.values())),
            *(
                f"{on_disk[name] / count:,.0f}" if name in on_disk else UNKNOWN
                for name in REPRESENTATIONS
            ),
            encoding_cost(path),
        )
    console.print(found)


def encoding_cost(path: Path) -> str:
    """Time and tokens per second that stage 0 measured: {store}/cost.json = {tokens, seconds, runtime}.

    Not part of the manifest, whose hash tells runs what they rest on: how long it took does not change what it is.
    """
    if not (path / "cost.json").exists():
        return UNKNOWN
    cost = read_record(path / "cost.json")
    return f"{duration(cost['seconds'])}, {cost['tokens'] / cost['seconds']:,.0f} tokens/s on {cost['runtime']}"
