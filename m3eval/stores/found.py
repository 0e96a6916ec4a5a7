"""What lies where a store goes: nothing, a half-written store, a finished one, a damaged one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from m3eval.comparable import same_store
from m3eval.errors import UserError
from m3eval.files import digest
from m3eval.layout import StoreFiles
from m3eval.manifests import StoreManifest, StorePlan
from m3eval.records import compared, read
from m3eval.stores import checks

REMEDY = (
    "Vectors that differ are never mixed: choose another output_dir=, or set overwrite=true to "
    "replace it."
)


@dataclass(frozen=True)
class StoreState:
    """What is there, and what is to be written there."""

    files: StoreFiles  # where it is written: the store's place, or its replacement's
    plan: StorePlan  # what is to be written
    manifest: StoreManifest | None = None  # of a finished store
    broken: Mapping[Path, UserError] = field(default_factory=dict)  # shards to be made again
    useless: bool = False  # nothing of it can be gone on with


def plan_digest(plan: StorePlan) -> str:
    """By which a shard names the plan that it belongs to, which is made before texts are read."""
    return digest(compared(plan.rules))


def look(
    path: Path,
    plan: StorePlan,
    overwrite: bool,
    repair: bool,
    own: Callable[[int], bool] | None = None,
) -> StoreState:
    """Compares what is on disk with a plan; changes nothing.

    Args:
        path: folder of the store.
        plan: all that is to decide its content.
        overwrite: what is there is to be replaced. A half-written store of the same plan is gone on
            with, a finished one stays until another is whole.
        repair: what is damaged is to be made again.
        own: says of a shard's number whether this process is to make it, where others make the
            rest of a half-written store; it looks at no other. None: it makes all.

    Raises:
        UserError: the store was made otherwise, and each difference is named; or it is damaged.
    """
    files = StoreFiles(path)
    if overwrite:
        own_place = not files.manifest.exists() and _goes_on(files, plan)
        target = files if own_place else files.replacement
        if not _goes_on(target, plan):
            return StoreState(target, plan, useless=True)
        return StoreState(target, plan, broken=dict(_unfit(target, plan)))
    manifest = finished_store(files, repair)
    if manifest:
        problem = f"The store {path} is finished, but was made otherwise"
        same_store(manifest.plan, plan, finished=True).require(problem, REMEDY)
        broken = damaged(files, manifest, repair)
        if broken and not repair:
            raise checks.said(broken, path, len(manifest.shards))
        return StoreState(files, manifest.plan, manifest, broken)
    there = half_written(files, repair)
    problem = f"The store {path} is half-written, and what is there was made otherwise"
    if there and there.texts.count is not None and there.texts.sum is None:
        raise UserError(
            f"The store {path} is half-written by an earlier version of m3eval, whose shards do "
            f"not say of which texts they are: end it with that version. {REMEDY}"
        )
    if there:
        same_store(there, plan, finished=False).require(problem, REMEDY)
    broken = dict(_unfit(files, plan, own, repair))
    for error in broken.values():
        if isinstance(error, MadeOtherwise):
            raise MadeOtherwise(f"{problem}: {error} {REMEDY}")
    return StoreState(files, plan, broken=broken)


class MadeOtherwise(UserError):
    """A shard is of another plan."""


def finished_store(files: StoreFiles, repair: bool = False) -> StoreManifest | None:
    """The manifest of a finished store; None: there is none, or a damaged one is to be repaired."""
    if not files.manifest.exists():
        return None
    try:
        return read(files.manifest, StoreManifest, checks.REMEDY)
    except UserError:
        if repair:
            return None
        raise


def half_written(files: StoreFiles, repair: bool = False) -> StorePlan | None:
    """The plan of a half-written store; None: there is none, or a damaged one is to be repaired."""
    if not files.plan.exists():
        return None
    try:
        return read(files.plan, StorePlan, checks.REMEDY)
    except UserError:
        if repair:
            return None
        raise


def damaged(
    files: StoreFiles, manifest: StoreManifest, fetch: bool = False
) -> dict[Path, UserError]:
    """The shards of a finished store that are not as they were written; reads all of it.

    Of what lies in an object store only the size is looked at, unless it is to be fetched.
    """
    broken: dict[Path, UserError] = {}
    for path, texts, record in checks.written(files, manifest):
        try:
            checks.check_shard(path, manifest.plan.representations, texts, record, fetch)
        except UserError as error:
            broken[path] = error
    return broken


def _goes_on(files: StoreFiles, plan: StorePlan) -> bool:
    """Whether a plan may complete what is half-written, or there is nothing."""
    try:
        manifest = finished_store(files)
        there = manifest.plan if manifest else half_written(files)
    except UserError:
        return False
    if there is None:
        return not files.written_shards()
    return bool(same_store(there, plan, finished=False))


def _unfit(
    files: StoreFiles,
    plan: StorePlan,
    own: Callable[[int], bool] | None = None,
    fetch: bool = False,
) -> Iterator[tuple[Path, UserError]]:
    """The shards of a half-written store that are damaged, or of another plan."""
    asked = plan_digest(plan)
    for path in files.written_shards():
        if own and not own(int(path.name)):
            continue
        try:
            record = checks.check_shard(path, plan.representations, fetch=fetch)
        except UserError as error:
            yield path, error
            continue
        # Early versions said it in the store's plan only.
        theirs = asked if record.plan is None and files.plan.exists() else record.plan
        if theirs != asked:
            yield path, MadeOtherwise(f"{path} is of other texts, another encoder or versions.")
