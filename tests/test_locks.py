"""One writer: who holds a lock is named, and the dead hold none, with flock and without."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from m3eval import locks
from m3eval.errors import UserError
from m3eval.locks import Holder, held, own_folder, shared

HERE = Holder.here("m3eval embed")
ELSEWHERE = replace(HERE, host="other", machine="other")


@pytest.fixture(params=["flock", "no flock"])
def system(request, monkeypatch):
    """A file system that has flock, and one that has not."""
    if request.param == "no flock":
        monkeypatch.setattr(locks, "_kernel_lock", lambda file, alone=True: False)
        monkeypatch.setattr(locks, "SETTLED_AFTER", 0.01)
    return request.param


@pytest.fixture
def lock(tmp_path) -> Path:
    return tmp_path / "stores" / ".corpus-xx.lock"


@pytest.fixture
def alive():
    """A process of this machine."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def left_by(holder: Holder, lock: Path, seconds: float = 0.0) -> Path:
    """A lock file of another process, touched so long ago."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps(asdict(holder)))
    touched = time.time() - seconds
    os.utime(lock, (touched, touched))
    return lock


def taken(lock: Path) -> bool:
    """Whether the lock could be had, and names this process meanwhile."""
    try:
        with held(lock, "The store", "m3eval embed"):
            named = json.loads(lock.read_text())
            assert named["process"] == os.getpid() and named["host"] == HERE.host
    except UserError:
        return False
    assert not lock.exists()
    return True


def test_a_free_lock_is_taken_and_leaves_nothing(system, lock):
    assert taken(lock) and taken(lock)
    assert not lock.parent.exists()


def test_it_is_released_where_the_block_fails(system, lock):
    with pytest.raises(KeyError), held(lock, "The store", "m3eval embed"):
        raise KeyError
    assert taken(lock)


def beside(lock: Path) -> Path:
    """The file of a process that holds the lock together with others."""
    return lock.with_name(f"{lock.name}.7-00000000.sharing")


def joined(lock: Path) -> bool:
    """Whether the lock could be had together with others."""
    try:
        with shared(lock, "The store", "m3eval embed"), shared(lock, "The store", "m3eval embed"):
            assert len(list(lock.parent.glob("*.sharing"))) >= 2
    except UserError:
        return False
    return True


def test_several_hold_it_together_or_one_alone(system, lock, monkeypatch):
    monkeypatch.setattr(locks, "SETTLED_AFTER", 0.01)
    assert joined(lock) and not lock.parent.exists()
    left_by(ELSEWHERE, beside(lock))
    assert joined(lock) and not taken(lock)
    left_by(ELSEWHERE, beside(lock), 2 * locks.DEAD_AFTER)
    assert taken(lock) and not beside(lock).exists()
    left_by(ELSEWHERE, lock)
    assert not joined(lock)
    left_by(ELSEWHERE, lock, 2 * locks.DEAD_AFTER)
    assert joined(lock)


def test_who_holds_it_with_others_is_named_and_a_killed_one_holds_nothing(lock):
    code = HOLD.replace("held(", "shared(").replace("import held", "import shared")
    first = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE)
    assert first.stdout is not None
    try:
        assert first.stdout.readline() == b"held\n"
        assert joined(lock)
        with pytest.raises(UserError, match=f"is being written by process {first.pid} on"):
            held(lock, "The store", "m3eval embed").__enter__()
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        first.stdout.close()
    assert taken(lock)
    assert not lock.exists() and not list(lock.parent.glob("*.sharing"))


HOLD = """
import sys, time
from pathlib import Path
from m3eval.locks import held
with held(Path(sys.argv[1]), "The store", "m3eval embed"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_who_the_first_is_and_a_killed_one_holds_nothing(lock):
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    assert first.stdout is not None
    try:
        assert first.stdout.readline() == b"held\n"
        said = (
            rf"The store is being written by process {first.pid} on {HERE.host} \(m3eval embed, "
            r"since \d+-.*\): wait until it ends, stop it, or choose another output_dir="
        )
        with pytest.raises(UserError, match=said):
            held(lock, "The store", "m3eval embed").__enter__()
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        first.stdout.close()
    assert lock.exists()
    assert taken(lock)


def test_a_process_of_this_machine_holds_its_lock_as_long_as_it_runs(lock, monkeypatch, alive):
    """Without flock, that is asked of the system, and of the clock."""
    monkeypatch.setattr(locks, "_kernel_lock", lambda file, alone=True: False)
    monkeypatch.setattr(locks, "SETTLED_AFTER", 0.01)
    theirs = replace(HERE, process=alive.pid)
    assert not taken(left_by(theirs, lock))
    assert taken(left_by(theirs, lock, 2 * locks.DEAD_AFTER))  # another has its number now
    alive.kill()
    alive.wait()
    assert taken(left_by(theirs, lock))


def test_with_flock_no_process_of_this_machine_is_asked(lock, alive):
    """The kernel would have kept the lock for it; its number is another's now."""
    assert taken(left_by(replace(HERE, process=alive.pid), lock))


def test_a_number_that_was_given_again_is_ours(system, lock):
    """In a container that was killed and started again, m3eval has the same number."""
    assert taken(left_by(HERE, lock))


@pytest.mark.parametrize("seconds", [0, 300])
def test_another_machine_holds_what_it_touched(system, lock, seconds):
    assert not taken(left_by(ELSEWHERE, lock, seconds))
    assert json.loads(lock.read_text())["host"] == "other"


def test_another_machine_that_fell_silent_holds_nothing(system, lock):
    assert taken(left_by(ELSEWHERE, lock, 601))


def test_without_flock_another_container_holds_what_it_touched(lock, monkeypatch):
    """Its processes cannot be seen from here."""
    monkeypatch.setattr(locks, "_kernel_lock", lambda file, alone=True: False)
    monkeypatch.setattr(locks, "SETTLED_AFTER", 0.01)
    other = replace(HERE, host="container", process=2**22 + 1)
    assert not taken(left_by(other, lock, 10))
    assert taken(left_by(other, lock, 601))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 1}', b"\xff\0"])
def test_a_lock_that_names_nobody_is_free(system, lock, content):
    lock.parent.mkdir(parents=True)
    lock.write_bytes(content)
    assert taken(lock)


def test_the_holder_shows_itself(lock, monkeypatch):
    monkeypatch.setattr(locks, "TOUCHED_EVERY", 0.01)
    with held(lock, "The store", "m3eval embed"):
        os.utime(lock, (1, 1))
        deadline = time.monotonic() + 10
        while lock.stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - lock.stat().st_mtime < 60
    assert threading.active_count() < 10


def test_of_two_that_write_at_once_the_last_has_it(lock, monkeypatch):
    """Without flock both think that it is free; after a moment each looks who was last."""
    monkeypatch.setattr(locks, "_kernel_lock", lambda file, alone=True: False)
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: left_by(ELSEWHERE, lock))
    assert not taken(lock)
    assert json.loads(lock.read_text())["host"] == "other"  # the other's lock stays


def test_what_another_took_over_is_not_removed(lock):
    with held(lock, "The store", "m3eval embed"):
        left_by(ELSEWHERE, lock)
    assert json.loads(lock.read_text())["host"] == "other"


def count(lock: Path, into: Path, times: int) -> None:
    """Reads a number and writes the next, so often, each time under the lock."""
    while times:
        try:
            with held(lock, "The number", "test"):
                number = int(into.read_text())
                time.sleep(0.001)
                into.write_text(str(number + 1))
                times -= 1
        except UserError:
            time.sleep(0.001)


def test_many_processes_take_turns(lock, tmp_path):
    into = tmp_path / "number"
    into.write_text("0")
    context = get_context("fork")
    processes = [context.Process(target=count, args=(lock, into, 20)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert into.read_text() == "80" and not lock.exists()


def test_processes_have_folders_of_their_own_and_sweep_the_deads(system, tmp_path):
    scratch = tmp_path / "scratch"
    dead = scratch / "1-00000000"
    dead.mkdir(parents=True)
    (dead / "index").write_text("left")
    left_by(replace(HERE, process=2**22 + 1), scratch / ".1-00000000.lock")
    left_by(replace(HERE, process=2**22 + 1), scratch / ".2-00000000.lock")  # made no folder yet
    (scratch / "corpus-sw").mkdir()  # as early versions left it
    left_by(ELSEWHERE, scratch / ".3-00000000.lock")
    (scratch / "3-00000000").mkdir()
    with own_folder(scratch, "m3eval search") as mine:
        mine.mkdir()
        names = {mine.name, f".{mine.name}.lock", "3-00000000", ".3-00000000.lock"}
        assert {path.name for path in scratch.iterdir()} == names
    assert {path.name for path in scratch.iterdir()} == {"3-00000000", ".3-00000000.lock"}


def test_the_last_process_removes_the_folder_of_all(tmp_path):
    with own_folder(tmp_path / "scratch", "m3eval search") as first:
        first.mkdir()
        with own_folder(tmp_path / "scratch", "m3eval search") as second:
            second.mkdir()
        assert first.exists() and not second.exists()
    assert not (tmp_path / "scratch").exists()


def test_a_lock_leaves_no_folder_that_was_made_for_it(tmp_path):
    with pytest.raises(KeyError), held(tmp_path / "a/b/.lock", "The result", "m3eval evaluate"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with held(tmp_path / "a/b/.lock", "The result", "m3eval evaluate"):
        (tmp_path / "a/b/scores.json").write_text("{}")
    assert (tmp_path / "a/b/scores.json").exists()
