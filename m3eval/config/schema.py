"""What every setting takes: the kinds that the code declares, found by a setting's key.

The top of the tree is declared here. Below it, what a node's settings take stands at the function
or dataclass that takes them: `settle`, `TextRules`, `Retrieval`, `Compression`, and whatever a
`_target_` names. A setting that only hands its value on, as benchmark.root does to
`${benchmark.root}` in benchmark.source, is of the kind that is asked for there.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any, Literal, get_args, get_origin

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from m3eval import kinds
from m3eval.benchmarks.texts import TextRules
from m3eval.config.tree import plain
from m3eval.kinds import Between, Count, Name, NotNegative, Positive, Share
from m3eval.manifests import Representation
from m3eval.metrics.names import MetricName
from m3eval.remote import is_url
from m3eval.runtime import settle
from m3eval.stores.compression import Compression

STEP = kinds.holds("a number above 0, at most 1", lambda number: 0 < number <= 1)
# What a command writes that is none of the three stages, or a file that it is given.
Local = Annotated[str, kinds.holds("a path of this machine, no URL", lambda word: not is_url(word))]
Plot = Literal["languages", "cost", "depth", "weights", "queries"]


@dataclass(frozen=True)
class Retrieval:
    """A benchmark's retrieval protocol."""

    depth: Count  # documents of a run per query
    rerank_depth: Count  # dense candidates that multi_vector and all score
    # hybrid -> representation -> weight
    weights: dict[str, kinds.Weights] = dataclasses.field(default_factory=dict)
    exclude_self: bool = False  # drop the document whose id is the query's own from every run


@dataclass(frozen=True)
class Takes:
    """Stands behind the declared settings of a node: a function takes the others."""

    function: Callable[..., Any] | None = None  # None: the one that the node's `_target_` names


@dataclass(frozen=True)
class SourceSettings:
    """`benchmark.source`, what its `_target_` takes aside."""

    _target_: str


@dataclass(frozen=True)
class BenchmarkSettings:
    """`benchmark`."""

    name: Name
    label: str
    reference: str | None
    split: Name
    subset: bool
    source: Annotated[SourceSettings, Takes()]
    text: TextRules
    retrieval: Retrieval
    metrics: Annotated[list[MetricName], kinds.NOT_EMPTY]


@dataclass(frozen=True)
class ReferenceSettings:
    """`encoder.reference`: see `PublishedSystems`."""

    systems: dict[str, str | None]
    files: dict[str, str] | None


@dataclass(frozen=True)
class EncoderSettings:
    """`encoder`, what its `_target_` takes aside."""

    _target_: str | None
    name: Name
    label: str
    reference: ReferenceSettings | None


@dataclass(frozen=True)
class RetrieverNode:
    """`retriever.NAME`, what its `_target_` takes aside."""

    _target_: str
    inputs: list[Name]
    weights_from: str | None
    reference: str | None


@dataclass(frozen=True)
class MultiVectorStore:
    """`store.multi_vector`."""

    limit_gb: NotNegative


@dataclass(frozen=True)
class StoreSettings:
    """`store`."""

    multi_vector: MultiVectorStore
    dense: Compression


@dataclass(frozen=True)
class GateTolerance:
    """`gate.tolerance`."""

    drift: NotNegative
    wrong: NotNegative
    moved: NotNegative
    overlap: NotNegative


@dataclass(frozen=True)
class GateSettings:
    """`gate`."""

    file: Local
    write: bool
    strict: bool
    queries: Count
    tolerance: GateTolerance


@dataclass(frozen=True)
class TargetNode:
    """A node whose settings its `_target_` takes."""

    _target_: str


Format = Literal["mteb", "model-card", "ranx", "parquet", "csv", "latex"]  # of an export


@dataclass(frozen=True)
class Tree:
    """Every setting at the top of the tree; a command has some of them."""

    # What the stages are told: conf/config.yaml.
    benchmark: BenchmarkSettings
    encoder: Annotated[EncoderSettings, Takes()]
    retriever: dict[Name, Annotated[RetrieverNode, Takes()]]
    runtime: Annotated[Any, Takes(settle)]
    languages: Annotated[list[Name], kinds.NOT_EMPTY] | None
    representations: Annotated[list[Representation], kinds.NOT_EMPTY] | None
    store: StoreSettings
    tolerance: NotNegative
    report_to: list[Literal["tensorboard", "wandb", "mlflow"]]
    output_dir: str
    plan_only: bool
    overwrite: bool
    repair: bool
    # compare, systems
    systems: Annotated[list[str], kinds.NOT_EMPTY] | None
    baseline: str | None
    all_pairs: bool
    test: Literal["permutation", "t"]
    resamples: Annotated[int, kinds.whole(1000)]
    confidence: Between
    alpha: Between
    seed: Annotated[int, kinds.whole(0, 2**32 - 1)]
    accept: list[str]
    gate: GateSettings
    # tune
    hybrid: Name
    step: Annotated[float, STEP]
    grid: dict[str, Annotated[list[NotNegative], kinds.NOT_EMPTY]] | None
    weights_file: Local
    # train
    name: Name
    start: str
    revision: str | None
    objective: Annotated[TargetNode, Takes()]
    data: Annotated[TargetNode, Takes()]
    trainer: Annotated[TargetNode, Takes()]
    # mine
    folder: Local
    negatives: Annotated[int, kinds.whole(0)]
    mined_from: Name
    ranks: Annotated[list[Count], kinds.holds("two ranks, as in [10,210]", lambda it: len(it) == 2)]
    judged_by: Name | None
    margin: NotNegative
    neg_q: bool
    never: list[str]
    most: Count | None
    # decode
    text: str | None
    role: Literal["query", "document"]
    k: Count | None
    # site
    results: list[str]
    runs: list[str]
    out: Local
    depth: Count
    megabytes: Positive
    weights_step: Share
    pictures: list[Plot]
    title: str
    description: str
    url: str | None
    # plot
    plots: Annotated[list[Plot], kinds.NOT_EMPTY] | None
    formats: Annotated[list[Literal["svg", "png"]], kinds.NOT_EMPTY]
    # info, mirror, list, completion
    path: str
    check: bool
    documents: bool
    with_encoder: bool
    check_only: bool
    group: str
    shell: Literal["bash", "zsh", "fish"]
    # plan
    devices: str | None
    utilisation: Annotated[float, STEP]
    tokens_per_second: Positive | None
    published: bool | None
    price: NotNegative | None
    # evaluate, where it is given files of runs
    run: Annotated[list[str], kinds.NOT_EMPTY]
    qrels: str
    metrics: Annotated[list[MetricName], kinds.NOT_EMPTY]
    subset: str | None
    split: str | None
    # export
    format: Format
    task: str | None


def kind_of(cfg: DictConfig, key: str) -> Any:
    """The kind of the setting with a key; `Any` where nothing declares it."""
    declared = _declared(cfg, key)
    if declared is None:
        tree = plain(cfg, resolve=False)
        askers = (asker for asker, value in leaves(tree) if reference(value) == key)
        declared = next((kind for each in askers if (kind := _declared(cfg, each))), Any)
    return declared


def unfit(cfg: DictConfig) -> list[str]:
    """What to say of every value that is not of its setting's kind.

    Values that are missing, or that cannot be resolved, are passed over: see `checks.complete`.
    """
    found: dict[str, None] = {}  # a setting that several ask for is named once
    tree = plain(cfg, resolve=False)
    for key, kind in _kinds(cfg, Tree, tree, ()):
        try:
            value: Any = OmegaConf.select(cfg, key, throw_on_missing=True)
        except OmegaConfBaseException:
            continue
        if OmegaConf.is_config(value):
            try:
                value = OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
            except OmegaConfBaseException:
                continue
        found |= dict.fromkeys(kinds.problems(value, kind, key))
    return list(found)


def reference(value: Any) -> str | None:
    """The setting whose value is handed on: `${benchmark.root}` -> benchmark.root; else None."""
    if isinstance(value, str) and value.startswith("${") and value.endswith("}"):
        inner = value[2:-1]
        return inner if not {*"{}:$"} & {*inner} else None
    return None


def _kinds(
    cfg: DictConfig, kind: Any, node: Mapping[Any, Any], way: tuple[str, ...]
) -> Iterator[tuple[str, Any]]:
    """Keys and kinds of all settings in a node; of one that is handed on, the key it is set by."""
    parts = _parts(cfg, kind, ".".join(way))
    for name, value in node.items():
        inner = parts(str(name))
        if inner is None:
            continue
        if isinstance(value, Mapping) and _has_parts(inner):
            yield from _kinds(cfg, inner, value, (*way, str(name)))
        else:
            yield reference(value) or ".".join((*way, str(name))), inner


def _declared(cfg: DictConfig, key: str) -> Any:
    """The kind that stands at a setting; None where none does."""
    kind: Any = Tree
    way: list[str] = []
    for step in key.split("."):
        kind = _parts(cfg, kind, ".".join(way))(step)
        if kind is None:
            return None
        way.append(step)
    return kind


def _parts(cfg: DictConfig, kind: Any, where: str) -> Callable[[str], Any]:
    """Gives the kind of a part of a node by the part's name; None where none is declared.

    Args:
        cfg: the configuration.
        kind: the node's own.
        where: the node's key.
    """
    declared: dict[str, Any] = {}
    if get_origin(kind) is Annotated:
        for takes in get_args(kind)[1:]:
            if isinstance(takes, Takes):
                declared |= hints(takes.function or _target(cfg, where))
    for each in kinds.alternatives(kind):
        if isinstance(each, type) and dataclasses.is_dataclass(each):
            declared |= hints(each)
        elif get_origin(each) in (dict, Mapping):
            return lambda _: get_args(each)[1]
    return declared.get


def _has_parts(kind: Any) -> bool:
    """Whether the settings of a node are checked one by one."""
    if get_origin(kind) is Annotated and any(isinstance(each, Takes) for each in get_args(kind)):
        return True
    inner = [
        get_args(each)[1] if get_origin(each) in (dict, Mapping) else each
        for each in kinds.alternatives(kind)
    ]
    return any(
        dataclasses.is_dataclass(each) for alike in inner for each in kinds.alternatives(alike)
    )


def _target(cfg: DictConfig, where: str) -> Callable[..., Any] | None:
    """What the `_target_` of a node names; None: nothing that can be imported (see `checks`)."""
    name = OmegaConf.select(cfg, f"{where}._target_")
    try:
        return get_object(name) if name else None
    except Exception:
        return None


def hints(function: Callable[..., Any] | None) -> dict[str, Any]:
    """The kinds of what a function or dataclass takes, by name.

    One that cannot be found, as a class that only type checkers import, is `Any`.
    """
    if function is None:
        return {}
    plain = getattr(function, "search", function)  # of a retriever its function
    names = vars(sys.modules[plain.__module__])
    found = {}
    for name, parameter in inspect.signature(plain).parameters.items():
        written = parameter.annotation
        try:
            one = SimpleNamespace(__annotations__={name: written})
            found[name] = typing.get_type_hints(one, names, include_extras=True)[name]
        except (NameError, AttributeError, TypeError):
            found[name] = Any
    return found


def leaves(node: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Keys, with dots, and values of all settings in a plain tree."""
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
