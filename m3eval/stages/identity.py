"""What the configuration makes of texts, stores and runs: the records that stages 0 and 1 write."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from m3eval.benchmarks.tally import Census
from m3eval.benchmarks.texts import TextSet
from m3eval.config import Setup
from m3eval.manifests import (
    DenseStorage,
    EncoderIdentity,
    Representation,
    RetrieverSettings,
    StorePlan,
    TextIdentity,
)
from m3eval.provenance import versions
from m3eval.retrievers.retriever import shipped
from m3eval.secrets import masked_tree

# Settings of a benchmark's source that tell where its files lie and what others counted; and the
# language, which the names of text sets have.
NOT_IDENTITY = ("root", "languages", "language")


def text_identity(setup: Setup, texts: TextSet, census: Census | None = None) -> TextIdentity:
    """What texts are, wherever they lie.

    Args:
        setup: the configuration.
        texts: a corpus or the queries of a language.
        census: what reading them found; None: they were not read, so count and hash are unknown.
    """
    source: Any = OmegaConf.to_container(setup.cfg.benchmark.source, resolve=True)
    documents = texts.role == "document"
    return TextIdentity(
        benchmark=setup.cfg.benchmark.name,
        split=setup.cfg.benchmark.split,
        source=masked_tree(source_settings(source)),
        set=texts.name,
        document_fields=[*setup.rules.document_fields] if documents else None,
        joint=setup.rules.joint if documents else None,
        normalize=setup.rules.normalize if documents else None,
        max_length=texts.max_length,
        count=census.content.count if census else None,
        sum=census.content.sum if census else None,
        sha256=census.sha256 if census else None,
    )


def source_settings(source: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a benchmark's source, but for where files lie and what others counted."""
    return {
        key: value
        for key, value in source.items()
        if key not in NOT_IDENTITY and not key.startswith("published_")
    }


def encoder_identity(setup: Setup) -> EncoderIdentity:
    """What the configured encoder is."""
    return EncoderIdentity(masked_tree({"name": setup.encoder.name, **setup.encoder.identity}))


def store_plan(
    setup: Setup,
    texts: TextSet,
    census: Census | None,
    representations: Sequence[Representation],
    commits: dict[str, str | None],
) -> StorePlan:
    """All that decides the content of a store.

    Args:
        setup: the configuration.
        texts: what is to be encoded.
        census: what reading it found; None: not all of it was read.
        representations: what the store is to hold.
        commits: where the texts come from, by repository.
    """
    dense = DenseStorage.configured(setup.cfg.store.dense, texts.role)
    return StorePlan(
        texts=text_identity(setup, texts, census),
        encoder=encoder_identity(setup),
        representations=sorted(representations),
        shard_size=setup.runtime.shard_size,
        dense=dense if "dense" in representations else None,
        made_with=versions(setup.runtime) | {"engine": setup.encoder.engine},
        commits=commits,
    )


def retriever_settings(setup: Setup, name: str) -> RetrieverSettings:
    """The settings that decide a run: the retriever's, and whether own documents are dropped."""
    settings: Any = OmegaConf.to_container(setup.cfg.retriever[name], resolve=True)
    settings.pop("reference", None)  # of reports
    # A setting of ours that has a default came later: records from before have none of that name.
    ours = shipped(settings["_target_"])
    for parameter in inspect.signature(ours).parameters.values() if ours else ():
        if settings.get(parameter.name, parameter.empty) == parameter.default:
            settings.pop(parameter.name, None)
    return RetrieverSettings(masked_tree(settings) | {"exclude_self": setup.retrieval.exclude_self})
