"""Full disks, quotas, limits, disks that can only be read or break: said with path and remedy.

Nothing is lost: where the trouble is over, the same command ends with the right outputs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.world import STAGES, Ended, before, differing, snapshot
from tests.needs import skip_unless

CLASS = "disk full, read-only, broken, limits"
slow = pytest.mark.slow
# The system's errors, and a word of the remedy.
ERRORS = {
    "ENOSPC": "Make room",
    "EDQUOT": "quota",
    "EROFS": "can only be read",
    "EACCES": "chmod",
    "EIO": "system's log",
    "EMFILE": "ulimit -n",
    "EFBIG": "ulimit -f",
    "ESTALE": "system's log",
}
POINTS = (0, 3, 9, 20, 35, 60, 90, 130, 170, 220)


def refused(ended: Ended, remedy: str, path: str) -> None:
    """One sentence for the user, with path and remedy."""
    assert ended.status == 2 and "Traceback" not in ended.out, str(ended)
    said = ended.out.partition("Error: ")[2]
    assert remedy in said and path in said, str(ended)


@pytest.mark.parametrize(
    ("name", "points"),
    [("ENOSPC", POINTS[1::4]), *(pytest.param(name, POINTS, marks=slow) for name in ERRORS)],
)
@pytest.mark.parametrize("stage", STAGES)
def test_a_step_is_refused(world, undisturbed, place, tally, stage, name, points):
    """From the n-th step of a stage on, whatever is written is refused; then it is mended."""
    right = snapshot(undisturbed)
    for point in points:
        output = before(stage, undisturbed, place / f"{stage}{point}")
        fault = {"folder": str(output), "at": point, "act": name, "lasting": True}
        ended = world.run(stage, output, fault=fault)
        if ended.status == 0:  # the stage has fewer steps
            break
        with tally.case(f"{name} from step {point} of {stage} on"):
            refused(ended, ERRORS[name], str(output))
            again = world.run("run", output)
            assert again.status == 0, str(again)
            assert differing(snapshot(output), right) == []
    tally.verdict()


@pytest.mark.parametrize(
    "size",
    [0, 700, *(pytest.param(n, marks=slow) for n in (1, 100, 128, 300, 500, 1000, 2000, 4000))],
)
def test_a_file_may_not_grow(world, undisturbed, place, tally, size):
    """The system's own limit on the size of files, in the middle of writes."""
    output = place / "out"
    ended = world.run("run", output, limits={"RLIMIT_FSIZE": size})
    with tally.case(f"files of at most {size} bytes"):
        refused(ended, "ulimit -f", str(output))
        again = world.run("run", output)
        assert again.status == 0, str(again)
        assert differing(snapshot(output), snapshot(undisturbed)) == []
    tally.verdict()


@pytest.mark.parametrize("most", [7, pytest.param(5, marks=slow), pytest.param(9, marks=slow)])
def test_few_files_may_be_open(world, undisturbed, place, tally, most):
    output = place / "out"
    ended = world.run("run", output, limits={"RLIMIT_NOFILE": most})
    with tally.case(f"{most} open files"):
        if ended.status:
            refused(ended, "ulimit -n", "")
            assert world.run("run", output).status == 0
        assert differing(snapshot(output), snapshot(undisturbed)) == []
    tally.verdict()


@pytest.fixture
def mounted(place):
    """Mounts a file system in memory of so many bytes at a folder."""
    skip_unless(os.getuid() == 0, "needs the right to mount a small disk")
    folders = []

    def mount(options: str) -> Path:
        folder = place / f"disk{len(folders)}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=False)
        skip_unless(done.returncode == 0, "needs the right to mount a small disk")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    "kilobytes", [40, *(pytest.param(n, marks=slow) for n in range(8, 220, 12))]
)
def test_a_small_disk(world, undisturbed, mounted, tally, kilobytes):
    """A real disk that fills up; then it is made larger."""
    disk = mounted(f"size={kilobytes}k")
    output = disk / "out"
    ended = world.run("run", output)
    with tally.case(f"a disk of {kilobytes} kB"):
        if ended.status:
            refused(ended, "output_dir=", str(disk))
            subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
            assert world.run("run", output).status == 0
        assert differing(snapshot(output), snapshot(undisturbed)) == []
    tally.verdict()


@pytest.mark.parametrize("command", [*STAGES, "run"])
def test_a_disk_that_can_only_be_read(world, undisturbed, mounted, tally, command):
    """What is finished is still read; whatever would write says that it cannot."""
    disk = mounted("size=10m")
    output = disk / "out"
    shutil.copytree(undisturbed, output)
    before = snapshot(output)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with tally.case(f"{command} on a disk that can only be read"):
        refused(world.run(command, output), "can only be read", str(disk))
        info = world.zygote.run("info", str(output / "small" / "fake"))
        assert info.status == 0, str(info)
        assert differing(snapshot(output), before) == []
    tally.verdict()


@pytest.mark.parametrize("stage", STAGES)
def test_the_folder_is_taken_away(world, undisturbed, place, tally, stage):
    """A file stands where the outputs, the benchmark's folder or the encoder's should be."""
    for name in ("", "small", "small/fake", "logs"):
        with tally.case(f"{stage}: a file at output_dir/{name}"):
            output = place / f"{stage}{name.replace('/', '_')}"
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_text("mine")
            ended = world.run(stage, output)
            assert ended.status == 2 and "Traceback" not in ended.out, str(ended)
            assert str(output / name) in ended.out and (output / name).read_text() == "mine", str(
                ended
            )
    tally.verdict()
