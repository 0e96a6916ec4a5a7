"""Checkpoints, results and pages that somebody else made to do harm: refused, or read as data.

Whatever is run or loaded by name would be an audit event of Python: none may occur.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from m3eval.files import write_json
from tests.conftest import save_m3
from tests.faults.world import ROOT, World
from tests.needs import needs, needs_program

CLASS = "hostile checkpoints, results, pages"
slow = pytest.mark.slow
CPU_SECONDS = 120
MARK = "harm-was-done"


class Payload:
    """Unpickled, it runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {MARK}",)


def change_json(name: str, **values: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / name
        content = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(content | values))

    return change


def pickled(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        if name == "pytorch_model.bin":
            (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(pickle.dumps(Payload(), protocol=2))

    return change


def with_code(name: str, **values: Any) -> Callable[[Path], object]:
    """A file that names code of the checkpoint's own, and the code."""

    def change(folder: Path) -> None:
        change_json(name, **values)(folder)
        (folder / "evil.py").write_text(f"open({MARK!r}, 'w')\nclass Evil: ...\n")

    return change


def weights(data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "model.safetensors").write_bytes(data)


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def outside(folder: Path) -> None:
    """An index of weights that names a file above its folder."""
    shutil.move(folder / "model.safetensors", folder.parent / "outside.safetensors")
    index = {
        "metadata": {},
        "weight_map": {"embeddings.word_embeddings.weight": "../outside.safetensors"},
    }
    write_json(folder / "model.safetensors.index.json", index)


def linked(name: str, target: str) -> Callable[[Path], object]:
    return lambda folder: ((folder / name).unlink(), (folder / name).symlink_to(target))


AUTO = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
# What is done to a checkpoint, and whether it must be refused.
CHECKPOINTS: dict[str, tuple[Callable[[Path], object], bool]] = {
    "pickle in pytorch_model.bin": (pickled("pytorch_model.bin"), True),
    "pickle in colbert_linear.pt": (pickled("colbert_linear.pt"), True),
    "pickle in sparse_linear.pt": (pickled("sparse_linear.pt"), True),
    "model code": (with_code("config.json", auto_map=AUTO), False),
    "model code of a new kind": (with_code("config.json", auto_map=AUTO, model_type="evil"), True),
    "tokeniser code": (with_code("tokenizer_config.json", auto_map=AUTO), False),
    "tokeniser class": (with_code("tokenizer_config.json", tokenizer_class="evil.Evil"), False),
    "module code": (
        with_code("modules.json"),
        False,
    ),
    "weights outside the folder": (outside, True),
    "weights are a link to a device": (linked("model.safetensors", "/dev/zero"), True),
    "weights are the users' passwords": (linked("model.safetensors", "/etc/passwd"), True),
    "weights cut": (cut, True),
    "weights emptied": (weights(b""), True),
    "weights with a header of 2^60 bytes": (weights((2**60).to_bytes(8, "little") + b"{}"), True),
    "weights with a header that is no JSON": (
        weights((8).to_bytes(8, "little") + b"not json"),
        True,
    ),
    "a pointer of git-LFS": (weights(POINTER), True),
    "an adapter": (change_json("adapter_config.json", peft_type="LORA", r=8), True),
    "a billion layers": (change_json("config.json", num_hidden_layers=10**9), True),
    "a width of 10^12": (change_json("config.json", hidden_size=10**12), True),
    "a width below zero": (change_json("config.json", hidden_size=-32), True),
    "a width in words": (change_json("config.json", hidden_size="32; rm -rf /"), True),
    "heads that do not divide": (change_json("config.json", num_attention_heads=7), True),
    "fewer layers than weights": (change_json("config.json", num_hidden_layers=1), True),
    "a model type with a path": (change_json("config.json", model_type="../../evil"), True),
    "a config that is a list": (lambda f: (f / "config.json").write_text("[]"), True),
    "a config nested deeply": (lambda f: (f / "config.json").write_text("[" * 99999), True),
    "a config that is no UTF-8": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe{"), True),
    "no config": (lambda f: (f / "config.json").unlink(), True),
    "no tokeniser": (lambda f: [p.unlink() for p in f.glob("*token*")], True),
    "a tokeniser that is no JSON": (lambda f: (f / "tokenizer.json").write_text("{"), True),
    "a tokeniser that is empty": (lambda f: (f / "tokenizer.json").write_text("{}"), True),
    "the folder is a file": (lambda f: (shutil.rmtree(f), f.write_text("x")), True),
}
ENCODERS = ("bge_m3", "pooled", "splade", "sentence_transformers")
PAIRS = [
    pytest.param(name, encoder, marks=[] if encoder == "bge_m3" and "code" in name else [slow])
    for name in CHECKPOINTS
    for encoder in ENCODERS
]


@pytest.fixture(scope="module")
def checkpoint(memory) -> Path:
    return save_m3(memory / "checkpoint")


def guarded(world: World, place: Path, *command: str) -> str:
    """Runs a command that must end with 0 or 2, and do no harm; what it printed."""
    events = place / "events"
    ended = world.zygote.run(
        *command, cwd=place, watch=str(events), limits={"RLIMIT_CPU": CPU_SECONDS}
    )
    assert ended.status in (0, 2) and "Traceback" not in ended.out, str(ended)
    assert not events.exists(), f"{events.read_text()}\n{ended}"
    assert not (place / MARK).exists(), str(ended)
    return f"{ended.status} {ended.out}"


@pytest.mark.parametrize(("name", "encoder"), PAIRS)
def test_checkpoints(world, checkpoint, place, tally, name, encoder):
    change, refused = CHECKPOINTS[name]
    folder = Path(shutil.copytree(checkpoint, place / "checkpoint"))
    if name == "module code":
        modules = [{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "evil.py").write_text(f"open({MARK!r}, 'w')\nclass Evil: ...\n")
    else:
        change(folder)
    with tally.case(f"{encoder}: {name}"):
        settings = [f"encoder={encoder}", f"encoder.checkpoint={folder}"]
        settings += ["benchmark.text.max_query_length=64", "benchmark.text.max_document_length=64"]
        printed = guarded(world, place, "embed", *checkpoint_words(world, place, *settings))
        heads = "linear.pt" in name and encoder != "bge_m3"  # others do not read M3's heads
        if refused and not heads:
            assert printed.startswith("2 "), printed
    tally.verdict()


def checkpoint_words(world: World, place: Path, *settings: str) -> list[str]:
    """The words of stage 0 with a checkpoint."""
    words = world.words(place / "out", "retriever=[dense]", *settings)
    kept = [word for word in words[:-2] if not word.startswith("benchmark.name")]
    return [*kept, "benchmark.name=small", "encoder.name=hostile"]


# Values that are put into every place of a result.
EVIL: list[Any] = [
    "${oc.env:HOME}",
    {"_target_": "os.system", "command": f"touch {MARK}"},
    {"_target_": "hydra.utils.instantiate", "_args_": [{"_target_": "os.system"}]},
    "../../../evil",
    "</script><script>window.harm=1</script><img src=x onerror='window.harm=1'>",
    None,
    [[]],
    -1e308,
    "\ud83d",
]


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in plain JSON; of lists, the first."""
    if path:
        yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from places(value, (*path, key))
    elif isinstance(node, list) and node:
        yield from places(node[0], (*path, 0))


def unsealed(path: Path) -> dict[str, Any]:
    """What a result holds, without its seal."""
    content = json.loads(path.read_text())
    return {key: value for key, value in content.items() if key not in ("sealed", "files")}


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    content = copy.deepcopy(content)
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return content


@pytest.mark.parametrize("share", [pytest.param(i, marks=[slow] if i else []) for i in range(16)])
def test_results(world, undisturbed, place, tally, share):
    """Any value of a result is another one; its seal is left out, as by whoever crafts one."""
    content = unsealed(undisturbed / "small/fake/scores/scores.json")
    all_places = [*places(content)]
    for number, path in enumerate(all_places[share::16]):
        value = EVIL[(number + share) % len(EVIL)]
        with tally.case(f"{'.'.join(map(str, path))} = {str(value)[:40]}"):
            here = place / str(number)
            folder = Path(shutil.copytree(undisturbed / "small", here / "small")) / "fake"
            text = json.dumps(replaced(content, path, value))
            (folder / "scores/scores.json").write_text(text)
            guarded(world, here, "info", f"{folder}/scores")
            guarded(world, here, "site", f"results=[{folder}]", f"out={here}/site")
            assert not list(place.glob("*evil*")) and not list(place.parent.glob("evil"))
            pages = "".join(p.read_text() for p in here.glob("site/*.html"))
            assert "<script>window.harm" not in pages and os.environ["HOME"] not in pages
    tally.verdict()


@needs("playwright")
@needs_program("chromium", "apt-get install chromium")
@pytest.mark.parametrize("share", [pytest.param(i, marks=[slow] if i else []) for i in range(8)])
def test_pages(world, place, tally, share):
    """Text that tries to break out of every place of a result that a page shows, in Chromium."""
    from playwright.sync_api import sync_playwright

    content = unsealed(ROOT / "results/demo/e5_small_q4/scores.json")
    evil = next(value for value in EVIL if isinstance(value, str) and "script" in value)
    config = content["provenance"]["config"]
    shown = [("title",), *[("provenance", "config", *p) for p in places(config)]]
    folder = place / "results"
    texts = [path for path in shown if isinstance(at(content, path), str)]
    texts = [path for path in texts if path[-1] not in ("_target_", "name")]
    for number, path in enumerate(texts[share::8]):
        write_json(folder / str(number) / "scores.json", replaced(content, path, evil))
    out = place / "site"
    kept = 0
    with tally.case("the site is made of what can be shown"):
        for one in sorted(folder.iterdir()):
            printed = guarded(world, place, "site", f"results=[{one}]", f"out={out}/{one.name}")
            kept += printed.startswith("0 ")
        assert kept
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for page in sorted(out.glob("*/*.html")):
            with tally.case(str(page.relative_to(out))):
                tab = browser.new_page()
                tab.on("dialog", lambda dialog: dialog.dismiss())
                tab.goto(page.as_uri())
                assert tab.evaluate("window.harm") is None
                tab.close()
        browser.close()
    tally.verdict()


def at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content
