"""A retriever is data: what it reads, what it needs on disk, and what it builds on."""

import subprocess
import sys

import pytest

from m3eval.config import CONFIG_DIR, check, compose
from m3eval.errors import UserError
from m3eval.retrievers.retriever import Retriever, find, inputs, retriever, shipped, with_inputs

NAMES = sorted(path.stem for path in (CONFIG_DIR / "retriever").glob("*.yaml"))
SETTINGS = compose(f"retriever=[{','.join(NAMES)}]").retriever
TARGETS = {name: SETTINGS[name]._target_ for name in NAMES}


def search_nothing(sources, depth):
    """A function without the decorator."""


def test_a_function_without_the_decorator_ends_with_the_configuration():
    target = f"{__name__}.search_nothing"
    cfg = compose("experiment=demo", f"retriever.dense._target_={target}")
    with pytest.raises(UserError, match=f"{target} is not a retriever: put @retriever"):
        check(cfg)
    with pytest.raises(UserError, match="m3eval.retrievers.dens.search cannot be imported"):
        find("m3eval.retrievers.dens.search")


def test_a_retriever_of_somebody_else_is_found_but_not_shipped(monkeypatch):
    marked = retriever("nothing at all", "texts")(search_nothing)
    monkeypatch.setattr(sys.modules[__name__], "search_nothing", marked)
    target = f"{__name__}.search_nothing"
    assert find(target) is marked and shipped(target) is None
    words = f"retriever.multi_vector_exhaustive._target_={target}"  # it has no settings but depth
    check(compose("experiment=demo", "retriever=[multi_vector_exhaustive]", words))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "tests.retrievers.test_retriever.search_nothing",
        "m3eval.retrievers.dense.QUERIES",
        "m3eval.retrievers.dense.absent",
        "m3eval.retrievers.absent.search",
        "m3eval.retrievers..dense.search",
        "m3eval.retrievers.os.system",
        "",
    ],
)
def test_only_retrievers_of_this_package_are_shipped(target):
    assert shipped(target) is None


@pytest.mark.parametrize("name", NAMES)
def test_what_the_configuration_has_is_shipped(name):
    assert isinstance(found := shipped(TARGETS[name]), Retriever)
    assert found is find(TARGETS[name]) and found.label
    # What has an encoder's vectors reads stores, and the other way round.
    assert bool(found.stored) == ("stores" in found.reads)


def test_what_retrievers_read():
    found = {name: find(TARGETS[name]) for name in NAMES}
    assert {name for name in NAMES if found[name].reads_whole_texts} == {"bm25", "bm25s"}
    indexes = {"bm25", "bm25s", "bm25_tokens"}
    assert {name for name in NAMES if found[name].indexes_texts} == indexes
    without = {name for name in NAMES if not found[name].needs_encoder}
    assert without == {"bm25", "bm25s", "cross_encoder", "dense_sparse", "dense_bm25"}


def test_what_a_retriever_builds_on_comes_before_it():
    settings = {
        "dense": {},
        "sparse": {"inputs": None},
        "multi_vector": {"inputs": ["dense"]},
        "all": {"inputs": ["dense", "multi_vector"]},
    }
    assert inputs(settings["all"]) == ["dense", "multi_vector"] and not inputs(settings["sparse"])
    assert with_inputs(["all"], settings.__getitem__) == ["dense", "multi_vector", "all"]
    assert with_inputs(["sparse", "all", "dense", "all"], settings.__getitem__) == [
        "sparse",
        "dense",
        "multi_vector",
        "all",
    ]
    settings["dense"] = {"inputs": ["all"]}
    with pytest.raises(UserError, match="all -> dense -> all"):
        with_inputs(["all"], settings.__getitem__)


def test_to_know_a_retriever_costs_little():
    """A configuration is checked, and a page of the site made, without what only a search needs."""
    heavy = ["torch", "transformers", "pandas", "numba", "scipy", "scipy.sparse", "bm25s", "jnius"]
    program = (
        "import sys\n"
        "from m3eval.retrievers.retriever import shipped\n"
        f"targets = {list(TARGETS.values())}\n"
        "assert all(map(shipped, targets))\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr
