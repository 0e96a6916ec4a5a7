"""What the operating system refuses: path, need and remedy in one message; nothing is lost."""

from __future__ import annotations

import _multiprocessing
import errno
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from m3eval import cli, oserrors, records, seals
from m3eval.__main__ import main
from m3eval.benchmarks.arrowfiles import unparsed_parquet
from m3eval.console import say
from m3eval.encoders.examination import require_content
from m3eval.errors import UserError
from m3eval.expected import read_gate
from m3eval.files import whole_file, write_folder
from m3eval.manifests import Result
from m3eval.retrievers.run import read_components, read_run
from m3eval.stores.arrays import save_array
from m3eval.stores.shard import read_ids
from m3eval.training import data
from m3eval.tuned import read_weights

ROOT = Path(__file__).resolve().parents[1]


def in_words(number: int, path: Path | None) -> str:
    return str(oserrors.in_words(OSError(number, os.strerror(number), path and str(path))))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "disk of {there} is full .* are free.*output_dir="),
        (errno.EDQUOT, "quota on the disk of {there} .*output_dir="),
        (errno.EFBIG, "ulimit -f unlimited.*runtime.shard_size"),
        (errno.EROFS, "{there} lies on a disk that can only be read: .*output_dir="),
        (errno.EACCES, "user [0-9]+ has not the permission; {there} belongs to user .*chmod"),
        (errno.EPERM, "has not the permission"),
        (errno.ENOENT, "does not exist; of its path there is {there}"),
        (errno.ENOTDIR, "is a file, and a folder is needed"),
        (errno.EISDIR, "is a folder, and a file is needed"),
        (errno.EEXIST, "something stands there already"),
        (errno.ENAMETOOLONG, "too long .*encoder.name="),
        (errno.EMFILE, r"than this process may have \([0-9,]+\).*ulimit -n"),
        (errno.EAGAIN, "no more processes or threads.*ulimit -u"),
        (errno.ENOMEM, "memory ran out.*runtime.search_block"),
        (errno.EIO, "reports an error .Input/output error.*system's log"),
        (errno.EXDEV, "EXDEV"),
    ],
    ids=lambda value: errno.errorcode.get(value),
)
def test_every_refusal_has_path_and_remedy(tmp_path, number, said):
    path = tmp_path / "there" / "not" / "yet.npy"
    (tmp_path / "there").mkdir()
    message = in_words(number, path)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert re.search(said.format(there=re.escape(str(tmp_path / "there"))), message), message
    assert in_words(number, None).startswith("The system: ")


def test_memory_and_threads_are_the_system_s_too():
    assert "runtime.search_block" in str(oserrors.in_words(MemoryError("Unable to allocate 9 GB")))
    assert "ulimit -u" in str(oserrors.in_words(RuntimeError("can't start new thread")))
    # A library's own OSError, and every other exception: defects until somebody knows them.
    assert oserrors.in_words(OSError("cannot load it")) is None
    assert oserrors.in_words(RuntimeError("other")) is None


def test_a_refused_write_names_what_was_written_and_how_far_it_came(tmp_path):
    def refuse(part: Path) -> None:
        part.write_bytes(b"x" * 2000)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file, folder = tmp_path / "run.trec", tmp_path / "00000"
    with pytest.raises(OSError) as of_file, whole_file(file) as part:
        refuse(part)
    with pytest.raises(OSError) as of_folder:
        write_folder(folder, lambda part: refuse(part / "dense.npy"))
    for error, path in ((of_file, file), (of_folder, folder)):
        assert f"{path} (2.0 kB of it had been written): the disk" in str(
            oserrors.in_words(error.value)
        )
        assert not path.exists()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float16).reshape(3, 4),
        np.arange(12, dtype=np.int32).reshape(3, 4)[:, 1:3],
        np.empty((0, 4), np.float16),
        np.arange(3, dtype=np.uint8),
    ],
)
def test_arrays_are_those_of_numpy(tmp_path, array):
    save_array(tmp_path / "ours.npy", array)
    np.save(tmp_path / "numpy.npy", array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_why_an_array_was_refused_is_known(tmp_path):
    """numpy's own error has no number: a limit would pass for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError) as error:
            save_array(tmp_path / "a.npy", np.zeros(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.value.errno == errno.EFBIG


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full", "/x/y"), MemoryError()])
def test_a_command_ends_with_words_and_status_2(capsys, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(cli, "call", fail)
    assert main(["embed"]) == 2
    out, err = capsys.readouterr()
    assert "Error: " in out and "Traceback" not in out + err


def test_an_output_folder_that_cannot_be(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["embed", "experiment=demo", f"output_dir={tmp_path / 'file'}"]) == 2
    assert "is a file, and a folder is needed there" in capsys.readouterr().out


def test_processes_need_no_shared_memory(pipeline, monkeypatch):
    """As where there is no /dev/shm: no semaphore can be made."""

    def refuse(*_):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(_multiprocessing, "SemLock", refuse)
    folder = pipeline("embed", "runtime.processes=2", "languages=[yo]", "runtime.shard_size=2")
    shards = sorted((folder / "stores/corpus-yo/shards").iterdir())
    assert [read_ids(shard) for shard in shards] == [["0#0", "1#0"], ["2#0", "3#0"], ["4#0"]]


def test_a_process_of_stage_0_tells_what_was_refused(pipeline):
    """A file-size limit holds for the processes of stage 0, too; their words reach the user."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(UserError, match=r"corpus-sw/shards/\d+ .*ulimit -f"):
            pipeline("embed", "runtime.processes=2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def call(
    words: str, redirection: str = "", text: bool = True, **environment: str
) -> subprocess.CompletedProcess:
    """A command in a shell of its own, which ends with its status."""
    return subprocess.run(
        ["bash", "-c", f"{sys.executable} -m m3eval {words} {redirection}"],
        capture_output=True,
        text=text,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )


@pytest.mark.parametrize(("words", "status"), [("list encoders", 0), ("list encodrs", 2)])
def test_nobody_can_read_what_is_printed(words, status):
    closed, full = call(words, ">&-"), call(words, ">/dev/full")
    assert closed.returncode == status and closed.stderr == ""
    assert full.returncode == 2
    *said, lost = full.stderr.splitlines()
    assert lost == "standard output could not be written: No space left on device."
    assert (said != []) == (status == 2) and all("did you mean encoders?" in line for line in said)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", r"\xfc\ud55c\u2028"),
        ("latin-1", r"ü\ud55c\u2028"),
        ("utf-8", "ü한\u2028"),
        ("cp1252", r"ü\ud55c\u2028"),
    ],
)
def test_what_a_terminal_lacks_is_printed_as_its_escape(encoding, shown):
    done = call("embed encoder=ü한\u2028\udc80", text=False, PYTHONIOENCODING=encoding)
    assert done.returncode == 2 and done.stderr == b""
    assert f"encoder={shown}\\udc80: there is no encoder" in done.stdout.decode(encoding)


def test_code_that_can_be_kept_nowhere_is_compiled_all_the_same(monkeypatch, capsys):
    from m3eval.retrievers.postings_compiled import compiled

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)

    def double(n):
        return 2 * n

    assert compiled(double)(3) == 6
    assert "set NUMBA_CACHE_DIR" in capsys.readouterr().out


def test_a_line_is_printed_as_it_stands(capsys):
    """Texts of others are in it."""
    say("first query q1: ':smile: [bold]:car:[/bold]'")
    assert capsys.readouterr().out == "first query q1: ':smile: [bold]:car:[/bold]'\n"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EACCES])
def test_what_the_system_refuses_is_no_damage(number, tmp_path, monkeypatch):
    """A sealed file of which one cannot tell is not to be made again."""
    path = tmp_path / "ids.txt"
    path.write_text("a")
    seal = seals.Seal.of(path)

    def refused(_):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(seals, "sha256", refused)
    with pytest.raises(OSError) as raised:
        seals.check(path, seal, "Make it again.")
    assert raised.value.errno == number
    path.unlink()
    with pytest.raises(seals.Damaged, match="Make it again"):
        seals.check(path, seal, "Make it again.")


@contextmanager
def no_more_files():
    """Within the block nothing can be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


READERS: dict[str, Callable[[Path], object]] = {
    "record": lambda path: records.read(path, Result),
    "run": read_run,
    "component scores": read_components,
    "parquet": lambda path: list(unparsed_parquet(path)),
    "weights": read_weights,
    "gate": read_gate,
    "checkpoint": require_content,
    "training data": lambda path: data.read([str(path)]),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_file_that_cannot_be_opened_now_is_not_called_bad(kind, tmp_path):
    """That no more files may be open says nothing of this one."""
    path = tmp_path / "a.safetensors"
    path.write_text("no such file as is looked for\n")
    with pytest.raises(UserError):  # and what is to be imported is
        READERS[kind](path)
    with pytest.raises(OSError) as raised, no_more_files():
        READERS[kind](path)
    assert raised.value.errno == errno.EMFILE
