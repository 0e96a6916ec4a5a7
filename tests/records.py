"""Records as stages write them, made up in a line for tests that are about something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from m3eval.files import read_json
from m3eval.layout import RunFiles
from m3eval.manifests import (
    EncoderIdentity,
    Provenance,
    RetrieverSettings,
    RunManifest,
    StorePlan,
    TextIdentity,
)
from m3eval.records import record, write
from m3eval.retrievers import finished

DENSE = "m3eval.retrievers.dense.search"


def text_identity(name: str, **changes: Any) -> TextIdentity:
    """A text set of MIRACL's dev split: corpus-ko, queries-ko."""
    documents = name.startswith("corpus")
    values = {
        "benchmark": "miracl",
        "split": "dev",
        "set": name,
        "document_fields": ["title", "text"] if documents else None,
        "joint": "\n" if documents else None,
        "normalize": "none" if documents else None,
        "max_length": 512,
    }
    return TextIdentity(**(values | changes))


def store_plan(count: int, *representations: str, **changes: Any) -> StorePlan:
    """The plan of a store of so many texts."""
    values = {
        "texts": text_identity("corpus-xx", count=count, sum="0" * 64),
        "encoder": EncoderIdentity({"name": "made_up"}),
        "representations": sorted(representations),
        "shard_size": 10,
        "made_with": {},
    }
    return StorePlan(**(values | changes))


def run_manifest(
    retriever: str = "dense", language: str = "ko", settings: Any = (), **changes: Any
) -> RunManifest:
    """A run of M3 over stores; `settings` besides target, depth and exclude_self."""
    values = {
        "benchmark": "miracl",
        "language": language,
        "retriever": retriever,
        "settings": RetrieverSettings(
            {"_target_": DENSE, "depth": 1000, "exclude_self": False} | dict(settings)
        ),
        "inputs": {},
        "stores": {f"corpus-{language}": "1" * 64, f"queries-{language}": "2" * 64},
        "texts": {
            name: text_identity(name) for name in (f"corpus-{language}", f"queries-{language}")
        },
        "commits": {},
        "encoder": EncoderIdentity({"name": "m3", "files": {"model.safetensors": "0" * 64}}),
        "m3eval": "0",
    }
    return RunManifest(**(values | changes))


def reseal(trec: Path) -> None:
    """Seals a run as it stands, as if its retriever had given it."""
    run = RunFiles(trec)
    manifest = record(read_json(run.manifest), RunManifest)
    write(run.manifest, replace(manifest, files=finished.seal(run)))


def provenance(**config: Any) -> Provenance:
    """Of a result that was made by this configuration."""
    return record({"config": config, "encoder": None, "texts": {}, "stores": {}}, Provenance)
