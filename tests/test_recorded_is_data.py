"""A result is data, whoever made it: commands that read one import, call and resolve nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from m3eval.commands import recorded, site
from m3eval.commands.recorded import command, configuration
from m3eval.config import check, compose, tree
from m3eval.errors import UserError
from m3eval.files import write_json
from m3eval.manifests import Result
from m3eval.records import read
from m3eval.seals import sealed

ROOT = Path(__file__).resolve().parents[1]
CANARY = "canary-b41f"
# Each writes a file, if it is called; `evil` would write one already when it is imported.
CALLS = {
    "os.system": {"command": "touch {mark}"},
    "subprocess.run": {"args": ["touch", "{mark}"]},
    "builtins.exec": {"_args_": ["open('{mark}', 'w')"]},
    "pathlib.Path.touch": {"_args_": ["{mark}"]},
    "pandas.read_pickle": {"filepath_or_buffer": "{pickle}"},
    "evil.load": {"name": "evil"},
    "m3eval.evil.load": {"name": "evil"},
}


def filled(node: Any, **values: str) -> Any:
    """The same with {mark} and {pickle} filled in."""
    if isinstance(node, dict):
        return {key: filled(value, **values) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, **values) for value in node]
    return node.format(**values) if isinstance(node, str) else node


def at_benchmark(config: dict[str, Any], call: dict[str, Any]) -> None:
    config["benchmark"]["source"] = call


def at_encoder(config: dict[str, Any], call: dict[str, Any]) -> None:
    config["encoder"] = {"name": config["encoder"]["name"], "label": "x", "reference": None} | call


def at_retriever(config: dict[str, Any], call: dict[str, Any]) -> None:
    config["retriever"]["dense"] = call


def at_new_retriever(config: dict[str, Any], call: dict[str, Any]) -> None:
    config["retriever"]["evil"] = call


def nested(config: dict[str, Any], call: dict[str, Any]) -> None:
    config["encoder"]["windows"] = {"size": 512, "stride": 256} | call
    config["benchmark"]["source"]["languages"] = [call]


def partial(config: dict[str, Any], call: dict[str, Any]) -> None:
    config["benchmark"]["source"] |= {"_partial_": False, "_args_": [call], "_recursive_": True}


PLACES = [at_benchmark, at_encoder, at_retriever, at_new_retriever, nested, partial]


@pytest.fixture(scope="module")
def finished(pipeline_in, tmp_path_factory) -> Path:
    """Runs and scores of a benchmark; copied before they are changed."""
    return pipeline_in(tmp_path_factory.mktemp("made"))("retriever=[dense,sparse]")


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """Its own copy of them."""
    folder = tmp_path / "outputs" / finished.parent.name / finished.name
    subprocess.run(["cp", "-r", finished, folder.parent.mkdir(parents=True) or folder], check=True)
    return folder


def crafted(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The result of stage 2 with another configuration."""
    path = folder / "scores" / "scores.json"
    content = json.loads(path.read_text())
    change(content["provenance"]["config"])
    write_json(path, sealed(content))  # which proves nothing: everybody can
    return path


COMMANDS = """
import sys
from m3eval.__main__ import main
folder, out, *words = sys.argv[1:]
retrievers = "systems=[dense,sparse]"
for command in (
    ["info", folder],
    ["info", f"{folder}/runs/dense", "documents=true"],
    ["info", f"{folder}/scores/scores.json"],
    ["info", folder, "check=true"],
    ["site", f"results=[{folder}]", f"out={out}/one"],
    ["site", "results=[]", f"runs=[{folder}]", f"out={out}/two"],
    ["compare", retrievers, *words],
    ["gate", "gate.write=true", f"gate.file={out}/gate.yaml", *words],
    ["gate", f"gate.file={out}/gate.yaml", *words],
    ["evaluate", "retriever=[dense]", *words],
    ["evaluate", *words],
    ["search", *words],
    ["systems", "systems=[bge_m3/dense]", *words],
):
    status = main(command)
    assert status in (0, 1, 2), (command, status)
print("IMPORTED", [name for name in ("evil", "m3eval.evil") if name in sys.modules])
"""


@pytest.fixture
def read_by_all(copied, words_in, tmp_path) -> Callable[..., str]:
    """What the commands print that read results and runs; each ends without a defect."""
    words = [*words_in(copied.parents[1]), "retriever=[dense,sparse]"]

    def read(**environment: str) -> str:
        known = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, str(copied), str(tmp_path), *words],
            capture_output=True,
            text=True,
            env=os.environ | known | environment,
            cwd=tmp_path,
        )
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
        return done.stdout + done.stderr

    return read


@pytest.mark.parametrize("target", CALLS)
def test_no_command_calls_or_imports_what_a_result_names(target, copied, read_by_all, tmp_path):
    mark, pickled = tmp_path / "mark", tmp_path / "pickle"
    pickled.write_bytes(b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\ndef load(**_): ...\n")
    call = {"_target_": target, **filled(CALLS[target], mark=str(mark), pickle=str(pickled))}

    def everywhere(config):
        for place in PLACES:
            place(config, deepcopy(call))

    crafted(copied, everywhere)
    runs = list(copied.glob("runs/*/sw.json"))
    assert len(runs) == 2
    for path in runs:
        content = json.loads(path.read_text())
        content["settings"]["target"] = target
        write_json(path, sealed(content))
    printed = read_by_all()
    assert not mark.exists() and "IMPORTED []" in printed, printed


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_each_place_is_refused_by_itself(place, copied, tmp_path):
    mark = tmp_path / "mark"
    call = {"_target_": "pathlib.Path.touch", "self": str(mark)}
    path = crafted(copied, lambda config: place(config, call))
    with pytest.raises(UserError):
        configuration(path)
    assert not mark.exists()


def test_a_manifest_names_retrievers_of_m3eval_only(copied, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    setup = check(compose("retriever=[dense]"))
    with pytest.raises(UserError, match=r"made by evil\.search, which no retriever of m3eval is"):
        setup.recorded_retriever("evil.search")
    assert not (tmp_path / "mark").exists() and "evil" not in sys.modules
    assert setup.recorded_retriever("m3eval.retrievers.bm25s.search").reads == {"texts"}


REFERENCES = ["${oc.env:CANARY}", "x${oc.env:CANARY}y", "\\${oc.env:CANARY}", "${encoder.name}"]


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_stays_as_it_stands(reference, copied, read_by_all, tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", CANARY)

    def change(config):
        config["encoder"]["label"] = config["benchmark"]["label"] = reference
        config["encoder"]["reference"]["files"]["x"] = reference

    path = crafted(copied, change)
    words = command(read(path, Result).provenance).words
    assert CANARY not in str(words)
    crafted(copied, lambda config: config["encoder"]["reference"]["files"].pop("x"))
    setup = configuration(path)
    assert setup.cfg.encoder.label == setup.cfg.benchmark.label == reference
    printed = read_by_all(CANARY=CANARY)
    written = [page.read_text(errors="replace") for page in (tmp_path / "two").rglob("*.*")]
    assert written, printed
    assert CANARY not in printed + "".join(written)


def test_leave_to_run_code_or_to_pay_is_not_recorded(copied):
    def change(config):
        words = ["encoder=pooled", "encoder.name=bge_m3", "encoder.checkpoint=/x"]
        words += ["encoder.pooling=mean", "encoder.trust_remote_code=true"]
        words += ["encoder.reference.systems={dense: mE5-large}"]
        config["encoder"] = tree.plain(compose(*words))["encoder"]

    path = crafted(copied, change)
    setup = configuration(path)
    assert setup.cfg.encoder.trust_remote_code is False
    assert setup.cfg.encoder.reference.systems == {"dense": "mE5-large"}
    word = "encoder.trust_remote_code=true"
    assert configuration(path, [word]).cfg.encoder.trust_remote_code is True


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", "", "-rf", ".x", "a\tb\n", "n" * 121])
@pytest.mark.parametrize("node", ["benchmark", "encoder"])
def test_recorded_names_are_names(node, name, copied):
    path = crafted(copied, lambda config: config[node].update(name=name))
    with pytest.raises(UserError, match=rf"{node}.name=.*takes one name"):
        configuration(path)


NEEDED = (
    "benchmark",
    "benchmark.name",
    "benchmark.label",
    "benchmark.split",
    "benchmark.text.max_query_length",
    "benchmark.text.max_document_length",
    "benchmark.retrieval",
    "benchmark.source",
    "benchmark.source._target_",
    "encoder",
    "encoder.name",
    "encoder._target_",
    "retriever",
    "retriever.dense",
    "retriever.dense._target_",
)


@pytest.mark.parametrize("value", ["gone", 1.5, []], ids=str)
@pytest.mark.parametrize("place", NEEDED)
def test_what_is_no_configuration_is_said(place, value, copied):
    """By whoever reads it: what is needed is missing, or is something else."""

    def change(recorded):
        *above, last = place.split(".")
        for key in above:
            recorded = recorded[key]
        if value == "gone":
            del recorded[last]
        else:
            recorded[last] = value

    path = crafted(copied, change)
    with pytest.raises(UserError, match="no result of m3eval: .*(missing|Expected|no retriever)"):
        configuration(path)
    with pytest.raises(UserError, match="is no result of m3eval"):
        site.build([copied], [], copied / "site")


def test_what_private_files_build_is_built_where_they_are_given(copied, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    (folder / "encoder").mkdir(parents=True)
    (folder / "encoder" / "mine.yaml").write_text(
        "# Mine.\n# m3eval embed encoder=mine\n_target_: own_encoder.load\nname: mine\n"
        "label: Mine\nreference: null\n"
    )
    (tmp_path / "own_encoder.py").write_text("def load(name, label, runtime): ...\n")
    monkeypatch.syspath_prepend(tmp_path)

    def change(config):
        config["encoder"] = {"_target_": "own_encoder.load", "name": "mine"}
        config["encoder"] |= {"label": "Mine", "reference": None}

    path = crafted(copied, change)
    with pytest.raises(UserError, match=r"encoder\._target_.*--config-dir"):
        configuration(path)
    assert "own_encoder" not in sys.modules
    with tree.added(str(folder)):
        assert configuration(path).cfg.encoder._target_ == "own_encoder.load"


def test_the_page_shows_no_command_that_builds_something_else(copied, tmp_path):
    crafted(copied, lambda config: at_encoder(config, {"_target_": "os.system"}))
    content = read(copied / "scores/scores.json", Result)
    made = recorded.command(content.provenance)
    assert "encoder._target_" in made.gone and "os.system" not in str(made.words)
    site.build([copied], [], tmp_path / "site")
