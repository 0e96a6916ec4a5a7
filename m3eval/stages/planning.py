"""What the stages will take: tokens, operations, hours, bytes and memory, before anything is done.

Of texts and an encoder that are at hand a sample is encoded, in CPU time, since a clock on the wall
is off by what else the machine does. Of others: published counts, lengths measured on texts alike,
and the sizes of the model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass

from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import Role, text_sets
from m3eval.config import Setup
from m3eval.encoders.encoder import TextEncoder
from m3eval.encoders.ours import Encoder
from m3eval.errors import UserError
from m3eval.manifests import DenseStorage, Representation
from m3eval.reference.planning import MODELS, ModelSizes, lengths
from m3eval.stages import forecast
from m3eval.stages.shards import chosen, to_store
from m3eval.stages.texts import ReadTexts
from m3eval.stores import compression

# Measured on a core of an AMD EPYC (results in docs/speed.md and docs/log.md).
TOKENISED = 347_000  # tokens per CPU second
READ = 131_000  # documents of gzip JSON Lines per CPU second
FLOPS_OF_SEARCH = 9.6e10  # of exact dense search, per CPU second
POSTINGS = 3.6e10  # document-terms that a sparse search of a query passes by, per CPU second
LINE = 45  # bytes of a line of a run
PROBE_TOKENS = 20_000  # of each text set, at most, that are encoded to learn its cost
HIT = 12  # bytes of a document in a list of the best: a row and a score
ROLES: tuple[tuple[Role, str], ...] = (("document", "documents"), ("query", "queries"))
CHARACTERS = 4  # of a token, where texts are not at hand


@dataclass(frozen=True)
class Foreseen:
    """A text set: how much of it there is, and what becomes of it."""

    name: str
    role: Role
    count: int
    tokens: float  # of a text, on average
    bytes: float  # of a text, in its store
    stored: Collection[Representation]
    cpu_seconds: float | None = None  # of all its texts, on this machine; None: not tried

    @property
    def all_tokens(self) -> float:
        """Tokens of all texts."""
        return self.count * self.tokens


@dataclass(frozen=True)
class Search:
    """The search of one language."""

    queries: int
    documents: Foreseen
    depth: int

    @property
    def lines(self) -> int:
        """Of a run."""
        return self.queries * min(self.depth, self.documents.count)


@dataclass(frozen=True)
class Plan:
    """All that is foreseen."""

    sets: dict[str, Foreseen]  # by name: languages may share a corpus
    searches: list[Search]
    sizes: ModelSizes | None  # of the model; None: it is no transformer that we know
    width: int
    known_by: str  # in words
    tokenised: float = TOKENISED  # tokens per CPU second
    starting: float = 0.0  # CPU seconds here until a model is loaded and texts are counted
    price: float | None = None  # of a million tokens, in dollars; None: no service encodes

    @property
    def tokens(self) -> float:
        """Of all texts that stage 0 encodes."""
        return sum(each.all_tokens for each in self.sets.values())

    @property
    def flops(self) -> float | None:
        """Of stage 0; None: not known."""
        sizes = self.sizes
        if sizes is None:
            return None
        return sum(each.all_tokens * sizes.flops(each.tokens) for each in self.sets.values())

    @property
    def store_bytes(self) -> float:
        """Of all stores."""
        return sum(each.count * each.bytes for each in self.sets.values())

    @property
    def cpu_seconds(self) -> float | None:
        """Of encoding on this machine; None: it was not tried."""
        seconds = [each.cpu_seconds for each in self.sets.values()]
        return None if None in seconds else sum(filter(None, seconds))

    @property
    def dense_search(self) -> float:
        """CPU seconds of exact dense search."""
        pairs = sum(each.queries * each.documents.count for each in self.searches)
        return 2 * pairs * self.width / FLOPS_OF_SEARCH

    @property
    def sparse_search(self) -> float:
        """CPU seconds of sparse search."""
        passed = sum(
            each.queries * each.documents.count * each.documents.tokens for each in self.searches
        )
        return passed / POSTINGS

    def reranked(self, rerank_depth: int) -> float:
        """Tokens of the documents whose multi-vectors stage 1 has to encode: no store has them."""
        return sum(
            min(each.documents.count, each.queries * rerank_depth) * each.documents.tokens
            for each in self.searches
            if "multi_vector" not in each.documents.stored
        )


def plan(setup: Setup, published: bool) -> Plan:
    """What a configuration will take.

    Args:
        setup: the configuration.
        published: by published counts and sizes: neither texts nor a checkpoint are read.

    Raises:
        UserError: nothing is published of the benchmark or the encoder, or what reading raises.
    """
    return _by_what_is_published(setup) if published else _by_a_sample(setup)


def _by_a_sample(setup: Setup) -> Plan:
    encoder, sets, searches = setup.encoder, {}, []
    tokenised = [0.0, 0.0]  # tokens, CPU seconds
    starting = 0.0  # CPU seconds
    read_texts = setup.once(ReadTexts)
    for task in setup.tasks:
        read_texts.survey(task)
        censuses = (read_texts.corpus(task), read_texts.queries(task))
        for texts, census in zip(text_sets(task, setup.rules), censuses, strict=True):
            if texts.name in sets:
                continue
            stored = to_store(setup, census.content)
            first = forecast.request_of(texts, census.sample[:1])
            encoder.tokenize(first)  # loads the tokeniser
            started = time.process_time()
            means = forecast.means_of(encoder, texts, census)
            tokenised[0] += means.tokens * len(census.sample)
            tokenised[1] += time.process_time() - started
            size, seconds = _bytes_per_text(setup, encoder, texts.role, stored, means), None
            if encoder.price is None:  # a service is not tried: that would be paid
                probe = min(census.content.count, math.ceil(PROBE_TOKENS / means.tokens))
                speed = forecast.speed(setup, texts, census, stored, probe)
                starting = starting or speed.begun
                # All but dense vectors grows with the tokens.
                growing = sum(n for file, n in speed.bytes.items() if not file.startswith("dense"))
                dense: list[Representation] = ["dense"] if "dense" in stored else []
                size = _bytes_per_text(setup, encoder, texts.role, dense, means)
                size += means.tokens * growing / speed.tokens
                seconds = census.content.count * means.tokens * speed.cpu_seconds / speed.tokens
            sets[texts.name] = Foreseen(
                texts.name, texts.role, census.content.count, means.tokens, size, stored, seconds
            )
        searches.append(_search(setup, task, sets))
    known = "texts were counted"
    known += "" if encoder.price else "; a sample was encoded here, in CPU time"
    price = encoder.price.per_million if encoder.price else None
    tokens, seconds = tokenised
    rate = tokens / max(seconds, 1e-9)
    return Plan(sets, searches, _sizes(encoder), encoder.width, known, rate, starting, price)


def _search(setup: Setup, task: Task, sets: dict[str, Foreseen]) -> Search:
    documents, _ = text_sets(task, setup.rules)
    return Search(len(task.queries), sets[documents.name], setup.retrieval.depth)


def _sizes(encoder: TextEncoder) -> ModelSizes | None:
    """The sizes of an encoder's transformer; None where it has none, or names them otherwise."""
    if not isinstance(encoder, Encoder):
        return None
    config = getattr(encoder.backbone.checkpoint, "config", None)
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")
    values = [value for name in names if isinstance(value := getattr(config, name, None), int)]
    return ModelSizes(*values) if len(values) == len(names) else None


@dataclass(frozen=True)
class _Stated:
    """An encoder in M3's format that is not at hand, as far as bytes are concerned."""

    width: int

    def bytes_per_text(self, name: Representation, role: Role, tokens: float) -> float:
        """See `TextEncoder`. A sparse weight is an int32 and a float16."""
        return 6 * tokens if name == "sparse" else 2 * self.width * tokens


def _by_what_is_published(setup: Setup) -> Plan:
    source, known = setup.cfg.benchmark.source, lengths()
    counts = {key: source.get(f"published_{key}") for key in ("documents", "queries")}
    if setup.cfg.benchmark.name != known.benchmark or not all(counts.values()):
        raise UserError(
            f"Of {setup.cfg.benchmark.name} no lengths of texts are known without reading them: "
            "set published=false, with benchmark.root= where its files lie here."
        )
    checkpoint = setup.cfg.encoder.get("checkpoint")
    if (sizes := MODELS.get(checkpoint)) is None:
        raise UserError(
            f"The sizes of {checkpoint or setup.cfg.encoder.name} are not known without its files: "
            f"choose one of {', '.join(MODELS)}, or set published=false."
        )
    encoder = _Stated(sizes.width)
    mean = sum(known.documents.values()) / len(known.documents)
    all_reps: list[Representation] = ["dense", "sparse", "multi_vector"]
    if setup.cfg.encoder._target_ != "m3eval.encoders.m3.load":
        all_reps = ["dense"]
    sets, searches = {}, []
    for language in setup.languages:
        of_role = {
            "document": known.documents.get(language, mean),
            "query": known.queries[language],
        }
        for role, kind in ROLES:
            name = f"{'corpus' if role == 'document' else 'queries'}-{language}"
            tokens, count = of_role[role], int(counts[kind][language])
            characters = CHARACTERS * count * tokens
            stored = chosen(setup, sizes.width, all_reps, characters)
            means = forecast.Means(tokens, 1)
            size = _bytes_per_text(setup, encoder, role, stored, means)
            sets[name] = Foreseen(name, role, count, tokens, size, stored)
        queries = sets[f"queries-{language}"].count
        searches.append(Search(queries, sets[f"corpus-{language}"], setup.retrieval.depth))
    lacking = [language for language in setup.languages if language not in known.documents]
    words = f"published counts; sizes of {checkpoint}; lengths of passages chosen for questions, "
    words += f"which are longer than most ({known.command})"
    if lacking:
        words += f"; {', '.join(lacking)}: mean length of the other languages"
    return Plan(sets, searches, sizes, sizes.width, words)


def _bytes_per_text(
    setup: Setup,
    encoder: forecast.Sized,
    role: Role,
    stored: Collection[Representation],
    means: forecast.Means,
) -> float:
    dense = DenseStorage.configured(setup.cfg.store.dense, role)
    return forecast.bytes_per_text(encoder, role, stored, compression.of(dense), means)
