"""Outputs in an object store (moto's server speaks S3): equal to local ones, whatever happens."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.world import Ended, World, differing, snapshot
from tests.needs import imported, needs

CLASS = "object store"
pytestmark = needs("s3fs", "moto")
STEPS = 560  # of the three stages, within the folder that stands for the bucket


@dataclass(frozen=True)
class Place:
    """A bucket, and machines that write into it: folders that know nothing of each other."""

    world: World
    name: str
    environment: dict[str, str]
    folder: Path
    files: Any  # fsspec's

    @property
    def url(self) -> str:
        return f"s3://{self.name}/out"

    def started(self, command: str, *words: str, machine: str = "a", **options: Any) -> int:
        own = {"XDG_CACHE_HOME": str(self.folder / machine)}
        environment = self.environment | own | options.pop("environment", {})
        given = self.world.words(Path("OUT"), *words)
        given = [word.replace("output_dir=OUT", f"output_dir={self.url}") for word in given]
        return self.world.zygote.start(command, *given, environment=environment, **options)

    def run(self, command: str, *words: str, machine: str = "a", **options: Any) -> Ended:
        pid = self.started(command, *words, machine=machine, **options)
        return self.world.zygote.wait(pid)

    def done(self, *words: str, **options: Any) -> str:
        ended = self.run(*words, **options)
        assert ended.status == 0, str(ended)
        return ended.out

    def refused(self, *words: str, **options: Any) -> str:
        """What a command says that ends with a sentence for the user."""
        ended = self.run(*words, **options)
        assert ended.status == 2, str(ended)
        assert "Traceback" not in ended.out
        return " ".join(ended.out.partition("Error: ")[2].split())

    def contents(self, folder: str) -> dict[str, bytes]:
        """What lies in the bucket, as `snapshot` has it."""
        copy = self.folder / folder
        self.files.invalidate_cache()
        for path in self.files.find(f"{self.name}/out"):
            target = copy / path.removeprefix(f"{self.name}/out/")
            target.parent.mkdir(parents=True, exist_ok=True)
            content = self.files.cat_file(path)
            target.write_bytes(content.replace(self.url.encode(), b"OUTPUT"))
        return snapshot(copy)

    def object(self, pattern: str) -> str:
        """The name of the first object that has a pattern."""
        self.files.invalidate_cache()
        return next((p for p in self.files.find(self.name) if re.search(pattern, p)), "")

    def wait_for(self, pattern: str) -> None:
        """Until there is such an object."""
        until(lambda: bool(self.object(pattern)))


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells every request
    server = imported("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    yield f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    server.stop()


@pytest.fixture
def bucket(world, server, place, request) -> Place:
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "very-secret-testing"}
    environment = keys | {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
        "AWS_MAX_ATTEMPTS": "1",
    }
    files = imported("s3fs").S3FileSystem(
        key="testing", secret="testing", endpoint_url=server, skip_instance_cache=True
    )
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
    files.mkdir(name[:60])
    return Place(world, name[:60], environment, place, files)


def equals(bucket: Place, undisturbed: Path, part: str = "") -> None:
    """The bucket holds what one process leaves in a folder, and nothing else."""
    there, local = bucket.contents("copy"), snapshot(undisturbed)
    assert [name for name in differing(there, local) if part in name] == []


def test_three_stages_equal_local_ones(bucket, undisturbed):
    said = bucket.done("run")
    equals(bucket, undisturbed)
    assert f"put to {bucket.url}" in said  # before it begins
    assert re.search(rf"put +\d+ files, [\d.]+ kB, to s3://{bucket.name}", said)
    assert bucket.done("run").count("found finished") == 16
    assert "very-secret-testing" not in said
    assert not any(b"very-secret-testing" in it for it in bucket.contents("copy").values())


def test_another_machine_reads_through_a_small_cache(bucket, undisturbed):
    bucket.done("embed", machine="a")
    said = bucket.done("search", "runtime.cache_gb=0.000004", machine="b")
    assert "at most 4.0 kB" in said
    bucket.done("evaluate", machine="c")
    equals(bucket, undisturbed)
    left = [path.stat().st_size for path in (bucket.folder / "b").rglob("shards/*/*.npy")]
    made = [*(bucket.folder / "a").rglob("shards/*/*.npy")]
    assert 0 < len(left) < len(made)
    assert sum(left) <= 4000 + max(left)  # what is being read may be alone above the bound


@pytest.mark.parametrize(
    "step", [100, 300, *(pytest.param(n, marks=pytest.mark.slow) for n in range(5, STEPS, 30))]
)
def test_killed_and_gone_on_with(bucket, undisturbed, step):
    """Half of a file is never there, on whatever machine it is gone on with."""
    fault = {"folder": str(bucket.folder / "a"), "at": step, "act": "kill"}
    assert bucket.run("run", fault=fault).status == -9
    bucket.done("run", machine="b" if step % 20 else "a")
    equals(bucket, undisturbed)


def test_what_was_not_put_is_put_by_the_next_run(bucket, undisturbed):
    """Where the way to the store is lost, nothing that was made is lost."""
    gone = {"M3EVAL_DIE": str(bucket.folder / "die")}
    (bucket.folder / "die").mkdir()
    hold = bucket.folder / "die" / "en5.hold"
    hold.touch()
    pid = bucket.started("embed", environment=gone)
    until(hold.with_suffix(".reached").exists)
    bucket.wait_for("corpus-en/shards/00000/shard.json")  # then nothing is under way
    for path in bucket.files.find(bucket.name):
        bucket.files.rm_file(path)
    bucket.files.rmdir(bucket.name)
    hold.unlink()
    ended = bucket.world.zygote.wait(pid)
    assert ended.status == 2
    said = " ".join(ended.out.split())
    assert f"s3://{bucket.name}/out/" in said and "Create the bucket" in said
    assert "Traceback" not in said
    shards = [*(bucket.folder / "a").rglob("shards/*/shard.json")]
    assert shards
    times = {path: path.stat().st_mtime_ns for path in shards}
    bucket.files.mkdir(bucket.name)
    said = bucket.done("embed")
    kept = [path for path in shards if path.exists() and path.stat().st_mtime_ns == times[path]]
    assert kept
    equals(bucket, undisturbed, "/stores/")


@pytest.mark.parametrize("same", [True, False])
def test_two_machines_write_one_store_at_once(bucket, undisturbed, same):
    """Who comes second accepts what is equal, and is refused where it is not."""
    (bucket.folder / "die").mkdir()
    hold = bucket.folder / "die" / "en5.hold"
    hold.touch()
    slow = {"M3EVAL_DIE": str(bucket.folder / "die")}
    pid = bucket.started("embed", environment=slow)
    until(hold.with_suffix(".reached").exists)
    first = bucket.done("embed", machine="b")
    if not same:
        path = bucket.object("corpus-en/shards/00001/dense.npy")
        content = bucket.files.cat_file(path)
        bucket.files.pipe_file(path, content[:-1] + bytes([content[-1] ^ 1]))
    hold.unlink()
    ended = bucket.world.zygote.wait(pid)
    if same:
        assert ended.status == 0, str(ended)
        equals(bucket, undisturbed, "/stores/")
        # No object was put twice but the plans, and these are gone since.
        put = [int(n) for n in re.findall(r"put +(\d+) files", first + ended.out)]
        assert len(put) == 2 and sum(put) == len(bucket.files.find(bucket.name)) + 8
    else:
        assert ended.status == 2 and "Traceback" not in ended.out
        assert "corpus-en/shards/00001/dense.npy was written meanwhile" in " ".join(
            ended.out.split()
        )


def test_two_machines_fill_one_table(bucket):
    """Who comes second with a language sees what the other has scored, and keeps it."""
    (bucket.folder / "die").mkdir()
    hold = bucket.folder / "die" / "en5.hold"
    hold.touch()
    slow = {"M3EVAL_DIE": str(bucket.folder / "die")}
    pid = bucket.started("run", "languages=[en]", environment=slow)
    until(hold.with_suffix(".reached").exists)
    bucket.done("run", "languages=[sw]", machine="b")
    hold.unlink()
    ended = bucket.world.zygote.wait(pid)
    assert ended.status == 0, str(ended)
    bucket.files.invalidate_cache()
    result = json.loads(bucket.files.cat_file(bucket.object("scores.json")))
    scored = next(iter(result["scores"].values()))
    assert all({"en", "sw"} <= by_language.keys() for by_language in scored.values())


def test_shares_on_machines_without_a_folder_in_common(bucket, undisturbed):
    bucket.done("embed", "runtime.share=1/2", machine="b")
    said = bucket.refused("merge", machine="c")
    assert "lacks" in said
    bucket.done("embed", "runtime.share=0/2", machine="a")
    bucket.done("merge", machine="c")
    equals(bucket, undisturbed, "/stores/")
    assert list((bucket.folder / "c").rglob("*.npy")) == []  # nothing was fetched for it


def test_several_processes_put_their_shards(bucket, undisturbed):
    said = bucket.done("embed", "runtime.processes=2")
    equals(bucket, undisturbed, "/stores/")
    bucket.files.invalidate_cache()
    # The plans were put, too, and are gone since.
    assert f"put        {len(bucket.files.find(bucket.name)) + 4} files" in said


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_damaged_object_is_seen_and_made_again(bucket, undisturbed, damage):
    bucket.done("embed")
    path = bucket.object("corpus-en/shards/00001/dense.npy")
    content = bucket.files.cat_file(path)
    if damage == "gone":
        bucket.files.rm_file(path)
    else:
        changed = content[:-1] + bytes([content[-1] ^ 1])
        bucket.files.pipe_file(path, changed if damage == "changed" else content[:-1])
    for machine in "ab":  # whether it was there before or not
        said = bucket.refused("search", machine=machine)
        assert "00001/dense.npy is damaged" in said and "embed repair=true" in said
    bucket.done("embed", "repair=true", machine="c")
    equals(bucket, undisturbed, "/stores/")
    bucket.done("search", machine="b")


def test_what_is_removed_there_is_made_again(bucket, undisturbed):
    bucket.done("run")
    bucket.files.rm(f"{bucket.name}/out/small/fake/stores", recursive=True)
    assert "found finished" not in bucket.done("embed")
    equals(bucket, undisturbed)


@pytest.mark.parametrize(
    "lacking, words",
    {
        "bucket": ["Create the bucket, give another output_dir="],
        "credentials": ["there are no credentials", "AWS_ACCESS_KEY_ID"],
        "network": ["it cannot be reached", "AWS_ENDPOINT_URL"],
    }.items(),
)
def test_what_is_lacking_is_said(bucket, lacking, words):
    environment = {}
    if lacking == "bucket":
        bucket.files.rmdir(bucket.name)
    elif lacking == "network":
        environment = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    else:
        environment = {
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    said = bucket.refused("embed", environment=environment)
    assert all(word in said for word in (f"s3://{bucket.name}", *words))


def test_a_store_there_is_not_replaced_in_one_move(bucket):
    bucket.done("embed")
    assert "overwrite=true: an object store cannot" in bucket.refused("embed", "overwrite=true")


def test_runs_there_are_made_again(bucket, undisturbed):
    bucket.done("run")
    bucket.done("search", "overwrite=true", machine="b")
    bucket.done("search", "benchmark.retrieval.depth=300", machine="a")
    bucket.done("search", machine="b")
    bucket.done("evaluate", machine="b")
    equals(bucket, undisturbed)


def until(true: Callable[[], bool]) -> None:
    """Waits, half a minute at most."""
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")
