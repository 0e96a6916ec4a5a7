"""Two processes at once, and one that is interrupted: nothing is mixed, nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from m3eval.config import check, compose
from m3eval.errors import UserError
from m3eval.files import sweep
from m3eval.locks import held
from m3eval.retrievers import dense
from m3eval.stages import embed, search
from m3eval.stores import writer
from m3eval.stores.shard_writer import ShardWriter
from m3eval.stores.store import Store
from tests.stores.damage import flip, unseal
from tests.test_pipeline import snapshot

ROOT = Path(__file__).resolve().parents[1]
SMALL = "runtime.shard_size=8"
WORDS = [
    "benchmark=folder",
    "benchmark.name=mine",
    "benchmark.text.max_query_length=128",
    "benchmark.text.max_document_length=128",
    "retriever=[dense]",
    "runtime.threads=1",
    "runtime.precision=fp32",
    "runtime.shard_size=4",
]


def start(*words: str) -> subprocess.Popen:
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "m3eval", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def end(process: subprocess.Popen) -> tuple[int, str]:
    """Exit status and output."""
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


@pytest.fixture
def encoded(monkeypatch):
    """The numbers of the shards that are written, by store, as they are written."""
    numbers: list[tuple[str, int]] = []
    write = ShardWriter.write

    def counting(self, number, *made):
        write(self, number, *made)
        numbers.append((self.files.folder.name, number))

    monkeypatch.setattr(ShardWriter, "write", counting)
    return numbers


def interrupted_at(monkeypatch, number: int) -> None:
    """Ctrl-C when a corpus' shard with this number is due."""
    write = ShardWriter.write

    def interrupted(self, at, *made):
        if at == number and "corpus" in self.files.folder.name:
            raise KeyboardInterrupt
        write(self, at, *made)

    monkeypatch.setattr(ShardWriter, "write", interrupted)


def test_three_processes_make_one_store(corpus_of, tmp_path, m3):
    documents = [(f"d{i}", f"text number {i} of a corpus") for i in range(40)]
    root = corpus_of({"xx": documents}, {"xx": [("q1", "text number 3")]})
    words = [*WORDS, f"benchmark.root={root}", f"encoder.checkpoint={m3}"]
    there = [f"output_dir={tmp_path / 'out'}"]
    results = [end(each) for each in [start("embed", *words, *there) for _ in range(3)]]
    assert {status for status, _ in results} <= {0, 2}
    assert any(status == 0 for status, _ in results)
    for status, output in results:
        assert "Traceback" not in output
        assert status == 0 or "is being written by process" in output
    embed.run(check(compose(*words, f"output_dir={tmp_path / 'alone'}")))
    stores = "mine/bge_m3/stores"
    assert snapshot(tmp_path / "out" / stores) == snapshot(tmp_path / "alone" / stores)


def test_two_processes_with_other_corpora_never_mix_them(corpus_of, tmp_path, m3, capsys):
    roots = []
    for name in ("a", "b"):
        documents = [(f"d{i}", f"text number {i} of corpus {name}") for i in range(40)]
        root = corpus_of({"xx": documents}, {"xx": [("q1", "text number 3")]})
        roots.append(root.rename(tmp_path / name))
    words = [*WORDS, f"encoder.checkpoint={m3}", f"output_dir={tmp_path / 'out'}"]
    started = [start("embed", *words, f"benchmark.root={root}") for root in roots]
    results = [end(each) for each in started]
    assert sorted(status for status, _ in results) == [0, 2]
    refusal = next(output for status, output in results if status == 2)
    assert "is being written by process" in refusal or "was made otherwise" in refusal
    winner = roots[next(i for i, (status, _) in enumerate(results) if status == 0)]
    embed.run(check(compose(*words, f"benchmark.root={winner}")))
    assert capsys.readouterr().out.count("found finished") == 2


def test_stage_0_says_who_writes_and_stage_1_waits(pipeline, monkeypatch):
    folder = pipeline("embed")
    with (
        held(folder / "stores/.corpus-sw.lock", "The store", "m3eval embed"),
        pytest.raises(UserError, match=rf"corpus-sw is being written by process {os.getpid()} on"),
    ):
        pipeline("embed", "overwrite=true")
    lock = folder / "runs/dense/.sw.lock"
    with held(lock, "The run", "m3eval search"):
        pipeline("embed", "search", "languages=[yo]", "retriever=[dense]")  # is another language
        pipeline("search", "retriever=[sparse]")  # is another retriever
    for retrievers in ("[dense]", "[dense,sparse,dense_sparse]"):
        said: list[str] = []
        with ExitStack() as stack, monkeypatch.context() as patched:
            stack.enter_context(held(lock, "The run", "m3eval search"))

            def heard(line: str = "", said: list[str] = said, stack: ExitStack = stack) -> None:
                said.append(line)
                if "waiting" in line:
                    assert not (folder / "runs/dense_sparse/sw.trec").exists()
                    stack.close()  # the other ends now

            patched.setattr(search, "say", heard)
            pipeline("search", f"retriever={retrievers}")
        waited = [line for line in said if "waiting" in line]
        assert len(waited) == 1 and "dense/sw.trec is being written by process" in waited[0]
    assert (folder / "runs/dense_sparse/sw.trec").exists()
    with (  # finished things are only read
        held(lock, "The run", "m3eval search"),
        held(folder / "stores/.corpus-sw.lock", "The store", "m3eval embed"),
    ):
        pipeline("embed", "search", "retriever=[dense]")
    assert list(folder.rglob(".*")) == []


def test_all_who_wait_take_locks_in_one_order(pipeline, monkeypatch):
    """Or two that name the same retrievers in other orders could wait for each other."""
    taken: list[Path] = []

    def taking(path, *arguments):
        taken.append(path)
        return held(path, *arguments)

    pipeline("embed", "languages=[sw,yo]")
    monkeypatch.setattr(search, "held", taking)
    orders = []
    for names, languages in (("sparse,dense", "yo,sw"), ("dense,sparse", "sw,yo")):
        taken.clear()
        pipeline("search", f"retriever=[{names}]", f"languages=[{languages}]", "overwrite=true")
        orders.append([*taken])
    assert len(orders[0]) == 4 and orders[0] == orders[1]


def test_stage_2_says_who_writes(pipeline):
    folder = pipeline("retriever=[dense]")
    before = snapshot(folder)
    (folder / "scores/.scores.json.4711-0123abcd.part").write_text("left by a killed process")
    with (
        held(folder / "scores/.lock", "The result", "m3eval evaluate"),
        pytest.raises(UserError, match="The result .*scores is being written by process"),
    ):
        pipeline("evaluate", "retriever=[dense]")
    pipeline("evaluate", "retriever=[dense]")
    assert snapshot(folder).keys() == before.keys()


def test_a_half_written_store_is_gone_on_with_however_it_is_judged(pipeline, monkeypatch, encoded):
    """What says only how a benchmark is judged, or where its files lie, changes no text."""
    with monkeypatch.context() as patched:
        interrupted_at(patched, 4)
        with pytest.raises(KeyboardInterrupt):
            pipeline("embed", SMALL)
    encoded.clear()
    pipeline("embed", SMALL, "benchmark.source.topics_revision=v2")
    assert ("corpus-sw", 0) not in encoded and ("corpus-sw", 7) in encoded


def test_stage_1_keeps_to_its_own_scratch(pipeline, monkeypatch):
    """Two stage 1 at once: neither removes what the other builds."""
    folder = pipeline("embed")
    theirs = folder / "scratch" / "7-00000000"
    theirs.mkdir(parents=True)
    (theirs / "index").write_text("being read")
    with held(folder / "scratch/.7-00000000.lock", "scratch", "m3eval search"):
        pipeline("search")
        assert (theirs / "index").read_text() == "being read"
        assert len(list(theirs.parent.iterdir())) == 2
    pipeline("search", "overwrite=true")
    assert not (folder / "scratch").exists()


def test_what_a_killed_search_left_goes_though_all_runs_are_finished(pipeline):
    folder = pipeline("embed", "search")
    index = folder / "scratch/7-00000000/index"
    index.parent.mkdir(parents=True)
    index.write_text("half")
    (folder / "scratch/.7-00000000.lock").write_text("")  # killed before it named itself
    pipeline("search")
    assert not (folder / "scratch").exists()


def test_leftovers_of_killed_processes_are_swept(pipeline):
    folder = pipeline("embed", "search")
    left = [
        folder / "stores/corpus-sw/shards/.00000.part",  # as early versions named it
        folder / "stores/corpus-sw/shards/.00000.4711-0123abcd.part",
        folder / "runs/dense/.sw.trec.4711-0123abcd.part",
        folder / "runs/dense/.sw.json.part",
    ]
    kept = [
        folder / "runs/dense/.yo.trec.4711-0123abcd.part",  # another process may be writing it
        folder / "runs/dense/.sw.notes.part",  # not ours
    ]
    for path in (*left, *kept):
        path.write_text("half")
    flip(folder / "stores/corpus-sw/shards/00000/dense.npy")
    pipeline("embed", "repair=true")
    pipeline("search", "overwrite=true")
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    sweep(folder / "nowhere")


def test_ctrl_c_after_overwrite_keeps_the_old_stores(pipeline, monkeypatch, encoded):
    """And the same command goes on with the new ones."""
    folder = pipeline("embed", SMALL)
    before = snapshot(folder / "stores/corpus-sw")
    words = ["embed", SMALL, "benchmark.text.max_document_length=64", "overwrite=true"]
    with monkeypatch.context() as patched:
        interrupted_at(patched, 4)
        with pytest.raises(KeyboardInterrupt):
            pipeline(*words)
    assert snapshot(folder / "stores/corpus-sw") == before
    pipeline("search", "retriever=[dense]")
    encoded.clear()
    pipeline(*words)
    made = [number for name, number in encoded if "corpus" in name]
    assert 0 < len(made) <= 5 and 7 in made and 0 not in made
    assert Store(folder / "stores/corpus-sw").plan.texts.max_length == 64
    assert not [path for path in (folder / "stores").iterdir() if path.name.startswith(".")]


def test_what_overwrite_began_is_said_and_the_old_store_stays(pipeline, monkeypatch, capsys):
    folder = pipeline("embed", SMALL)
    with monkeypatch.context() as patched:
        interrupted_at(patched, 4)
        with pytest.raises(KeyboardInterrupt):
            pipeline("embed", SMALL, "overwrite=true")
    capsys.readouterr()
    pipeline("embed")
    began = f"overwrite=true has begun another in {folder}/stores/.corpus-sw.new"
    assert began in " ".join(capsys.readouterr().out.split())


def test_repair_encodes_just_the_damaged_shard(pipeline, encoded, capsys):
    folder = pipeline("embed", SMALL, "search", "retriever=[dense]")
    before = snapshot(folder)
    flip(folder / "stores/corpus-sw/shards/00003/dense.npy")
    for words in (["embed"], ["search", "retriever=[dense]", "overwrite=true"]):
        with pytest.raises(UserError, match=r"00003/dense.npy is damaged: .* repair=true"):
            pipeline(*words)
    encoded.clear()
    capsys.readouterr()
    pipeline("embed", "repair=true")  # shards are as large as the store's, whatever is asked now
    assert encoded == [("corpus-sw", 3)]
    out = capsys.readouterr().out
    assert "corpus-sw: repaired, to the bytes of before" in out
    pipeline("search", "retriever=[dense]")
    assert "found finished" in capsys.readouterr().out
    assert snapshot(folder) == before


def test_a_damaged_multi_vector_stops_the_retriever_that_reads_it(pipeline):
    folder = pipeline("embed")
    flip(folder / "stores/corpus-sw/shards/00000/multi_vector.npy")
    pipeline("search", "retriever=[dense,sparse]")
    with pytest.raises(UserError, match=r"corpus-sw/shards/00000/multi_vector.npy is damaged"):
        pipeline("search", "retriever=[dense,multi_vector]")


def test_stores_of_an_early_version_are_searched_and_sealed(pipeline, capsys):
    folder = pipeline("embed")
    before = snapshot(folder)
    for name in ("corpus-sw", "queries-sw"):
        unseal(folder / "stores" / name)
    pipeline("search", "retriever=[dense]")
    said = "corpus-sw is not sealed: damage to it cannot be seen. `m3eval embed` seals it."
    assert capsys.readouterr().out.count(said) == 1
    pipeline("embed", "plan_only=true")
    assert not Store(folder / "stores/corpus-sw").is_sealed
    pipeline("embed")
    assert capsys.readouterr().out.count("sealed as it stands") == 2
    assert snapshot(folder / "stores/corpus-sw") == {
        name.removeprefix("stores/corpus-sw/"): content
        for name, content in before.items()
        if name.startswith("stores/corpus-sw/")
    }


def test_a_replacement_takes_its_place_at_the_end_only(pipeline, monkeypatch):
    """What is read meanwhile is the old store, whole."""
    folder = pipeline("embed", SMALL)
    before, seen = snapshot(folder / "stores/corpus-sw"), []
    take_place = writer.take_place

    def looking(files):
        if files.folder.name == "corpus-sw":
            seen.append(snapshot(files.folder))
        take_place(files)

    monkeypatch.setattr(writer, "take_place", looking)
    pipeline("embed", SMALL, "overwrite=true", "benchmark.text.max_document_length=64")
    assert seen == [before]
    assert snapshot(folder / "stores/corpus-sw") != before


@pytest.mark.parametrize("fails", [False, True])
def test_a_store_that_is_replaced_while_it_is_searched_gives_no_run(pipeline, monkeypatch, fails):
    """Else one run would be of two stores."""
    folder = pipeline("embed", "search", "retriever=[dense]")
    before, search_whole = snapshot(folder / "runs"), dense.best_whole

    def replaced(*arguments):
        pipeline("embed", "overwrite=true", "benchmark.text.max_document_length=64")
        if fails:
            raise IndexError  # what numpy may say of rows that are not there any more
        return search_whole(*arguments)

    monkeypatch.setattr(dense, "best_whole", replaced)
    with pytest.raises(UserError, match="corpus-sw was made again while it was read: run the same"):
        pipeline("search", "retriever=[dense]", "overwrite=true")
    assert snapshot(folder / "runs") == before


@pytest.mark.slow
def test_several_processes_share_the_lock_of_their_parent(pipeline):
    folder = pipeline("embed", SMALL)
    before = snapshot(folder / "stores")
    words = ["runtime.processes=2", "runtime.threads=2"]
    pipeline("embed", SMALL, "overwrite=true", *words)
    assert snapshot(folder / "stores") == before
