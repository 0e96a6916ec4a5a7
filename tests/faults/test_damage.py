"""Every file that the stages write, damaged in every way: named, mended or made again, not scored.

After a damage the same commands end with status 2 and a sentence that names the file (or the shard,
the run, the result), or with status 0 and the outputs of a run that nobody disturbed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.world import Ended, World, counts, differing, snapshot

CLASS = "files damaged, exchanged, emptied, removed"
SHARES = 60  # of the cases; the first is the quick one
slow = pytest.mark.slow


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_at_a_line_end(path: Path) -> None:
    path.write_bytes(b"".join(lines(path)[: len(lines(path)) // 2]))


def double_a_line(path: Path) -> None:
    path.write_bytes(b"".join([*lines(path)[:2], *lines(path)[1:]]))


def exchange(path: Path) -> None:
    """Takes the file of the same name from somewhere else under the output folder."""
    top = path
    while not (top / "small").is_dir():
        top = top.parent
    others = sorted(each for each in top.rglob(path.name) if each != path)
    others += sorted(each for each in path.parent.iterdir() if each.suffix == path.suffix)
    for other in others:
        if other.is_file() and other.read_bytes() != path.read_bytes():
            shutil.copyfile(other, path)
            return
    path.write_bytes(path.read_bytes()[::-1])


# Byte classes: the first bytes (of an array: its header), the middle, the last.
DAMAGES: dict[str, Callable[[Path], object]] = {
    "first byte flipped": lambda path: flip(path, 0),
    "header byte flipped": lambda path: flip(path, min(60, path.stat().st_size - 1)),
    "byte in the middle flipped": lambda path: flip(path, path.stat().st_size // 2),
    "high bit in the middle flipped": lambda path: flip(path, path.stat().st_size // 2 + 1, 6),
    "byte near the end flipped": lambda path: flip(path, max(0, path.stat().st_size - 3)),
    "last byte flipped": lambda path: flip(path, path.stat().st_size - 1, 3),
    "cut in half": truncate,
    "cut at a line end": cut_at_a_line_end,
    "a line doubled": double_a_line,
    "something appended": lambda path: path.write_bytes(path.read_bytes() + b"0 1\n"),
    "emptied": lambda path: path.write_bytes(b""),
    "removed": lambda path: path.unlink(),
    "a folder in its place": lambda path: (path.unlink(), path.mkdir()),
    "exchanged": exchange,
}
Case = tuple[str, str]  # file, damage


def cases(undisturbed: Path, binary: bool = True) -> Iterator[Case]:
    """Every damage of every file; those of lines for files that have lines."""
    for path in sorted(undisturbed.rglob("*")):
        name = path.relative_to(undisturbed)
        if path.is_file() and counts(name):
            for damage in DAMAGES:
                if "line" not in damage or path.suffix != ".npy":
                    yield str(name), damage


def names_it(out: str, name: str) -> bool:
    """Whether a message names what the damaged file belongs to: a store, a run, a result."""
    _, folder, kind, *place = Path(name).parts
    about = {"stores": place[:1], "runs": [*place[:1], *place[-1:]]}
    parts = [part.partition(".")[0] for part in about.get(kind, [])]
    return folder != "texts" and "/".join([kind, *parts]) in out


@pytest.mark.parametrize(
    "share", [pytest.param(i, marks=[slow] if i else []) for i in range(SHARES)]
)
def test_what_is_damaged_is_never_scored(world, undisturbed, place, tally, share):
    """Stage 1 and 2 after each damage; where they refuse, their remedies, and again."""
    right = snapshot(undisturbed)
    for number, (name, damage) in enumerate([*cases(undisturbed)][share::SHARES]):
        with tally.case(f"{name}, {damage}"):
            output = Path(shutil.copytree(undisturbed, place / str(number)))
            DAMAGES[damage](output / name)
            examine(world, output, name, right)
            shutil.rmtree(output)
    tally.verdict()


def examine(world: World, output: Path, name: str, right: dict[str, bytes]) -> None:
    """The stages over a damaged output folder."""
    if "stores" in name:  # else stage 1 finds its runs finished, and reads no vector
        shutil.rmtree(output / "small/fake/runs")
    refused = stages(world, output)
    if refused is not None:
        assert names_it(refused.out.partition("Error: ")[2], name), str(refused)
        # What it says helps: what is in the way is moved, a store is repaired, a run made again.
        if (output / name).is_dir():
            (output / name).rmdir()
        mended = world.run("embed", output, "repair=true")
        if "set overwrite=true to replace it" in mended.out:  # it has another store's manifest
            mended = world.run("embed", output, "overwrite=true")
        assert mended.status == 0, f"{refused}\n\nafter which repair=true ended with {mended}"
        still = stages(world, output)
        assert still is None, f"{refused}\n\nrepaired, and still refused: {still}"
    now = snapshot(output)
    if refused is None:  # a store's file that nobody read may still be as it is
        now |= {key: right[key] for key in right if "/stores/" in key}
    if (output / name).is_dir():  # a kept census that cannot be written costs time only
        assert "/texts/" in name
        now |= {name: right[name]}
    assert differing({key: now.get(key, b"") for key in right}, right) == []


def stages(world: World, output: Path) -> Ended | None:
    """Runs stages 1 and 2; the one that refuses."""
    for stage in ("search", "evaluate"):
        ended = world.run(stage, output)
        assert ended.status in (0, 2) and "Traceback" not in ended.out, str(ended)
        if ended.status == 2:
            return ended
    return None


@pytest.mark.parametrize("share", [pytest.param(i, marks=[slow] if i else []) for i in range(20)])
def test_info_names_what_is_damaged(world, undisturbed, place, tally, share):
    """`m3eval info check=true` on what holds the file; sealed files only."""
    sealed = [case for case in cases(undisturbed) if Path(case[0]).suffix in SEALED]
    for number, (name, damage) in enumerate(sealed[share::20]):
        with tally.case(f"{name}, {damage}"):
            output = Path(shutil.copytree(undisturbed, place / str(number)))
            DAMAGES[damage](output / name)
            folder = output / "small" / "fake"
            ended = world.zygote.run("info", str(folder), "check=true")
            assert ended.status == 2 and names_it(ended.out, name), str(ended)
            shutil.rmtree(output)
    tally.verdict()


SEALED = (".npy", ".txt", ".trec", ".tsv")


def test_a_whole_folder_is_found_whole(world, undisturbed):
    ended = world.zygote.run("info", str(undisturbed / "small" / "fake"), "check=true")
    assert ended.status == 0, str(ended)
