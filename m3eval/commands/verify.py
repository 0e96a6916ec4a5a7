"""Is this checkpoint BGE-M3? Encodes the worked example that its authors publish, and compares all
values that they print.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from m3eval.config import Setup
from m3eval.console import say
from m3eval.encoders.encoder import Request, TextEncoder, Wanted, check_able
from m3eval.encoders.engine.tokenization import Tokenization
from m3eval.encoders.representations import Packed, Ragged, Representations
from m3eval.errors import UserError
from m3eval.files import read_json
from m3eval.lazy import scipy
from m3eval.manifests import Representation
from m3eval.reports.distance import encoder_obstacle
from m3eval.retrievers import late_interaction
from m3eval.retrievers import scores as maths
from m3eval.stages.identity import encoder_identity

EXAMPLE = Path(__file__).resolve().parents[1] / "reference" / "bge_m3_example.json"
HAS: tuple[Representation, ...] = ("dense", "sparse", "multi_vector")
MAX_LENGTH = 128  # tokens, as in FlagEmbedding's README; the texts have at most 31
# By the coarser of the two precisions. The authors' own values in fp16 and fp32 lie up to 2e-4
# apart; bf16 has 3 bits less, and int8 is three times as far off (docs/log.md).
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-3, "bf16": 1e-2, "int8": 3e-2}


class Check(NamedTuple):
    """A published value and the encoder's."""

    name: str
    expected: float
    got: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether they agree."""
        return abs(self.got - self.expected) <= self.tolerance


def run(setup: Setup) -> None:
    """Verifies a checkpoint; exits with status 1 where values differ.

    Raises:
        UserError: the encoder lacks a representation, or its checkpoint cannot be used.
    """
    encoder = setup.encoder
    check_able(encoder, HAS, MAX_LENGTH)
    if encoder.tokenization is None:
        raise UserError(
            f"{encoder.name} does not tell its tokens apart: verify reads m3eval's own encoders."
        )
    say(f"encoder    {encoder.label}, {setup.cfg.encoder.get('checkpoint')}; on {setup.runtime}")
    compared = list(checks(encoder, encoder.tokenization, setup.runtime.precision))
    show(compared)
    reference = setup.cfg.encoder.get("reference")
    if reference and (obstacle := encoder_obstacle(reference.files, encoder_identity(setup))):
        say(f"files      {obstacle}")
    if wrong := sum(not check.ok for check in compared):
        say(
            f"FAILED: {wrong} of {len(compared)} values differ. If this is meant to be BGE-M3, its "
            "weights, its heads (sparse_linear.pt, colbert_linear.pt) or its tokeniser are not the "
            "published ones: fetch the files again."
        )
        sys.exit(1)
    say(f"OK: all {len(compared)} values agree.")


def checks(encoder: TextEncoder, tokenization: Tokenization, precision: str) -> Iterator[Check]:
    """Every value of the worked example beside ours.

    Args:
        encoder: with all three representations.
        tokenization: of the encoder.
        precision: that it computes in.
    """
    example = read_json(EXAMPLE)
    wanted = Wanted(HAS, np.float32)
    queries = encoder.encode(Request(example["queries"], "query", MAX_LENGTH), wanted)
    documents = encoder.encode(Request(example["documents"], "document", MAX_LENGTH), wanted)
    query_dense, query_sparse, query_vectors = all_three(queries)
    dense, sparse, document_vectors = all_three(documents)
    vectors = {  # role -> [tokens, d] of each text
        role: [of_role[i] for i in range(len(of_role))]
        for role, of_role in (("query", query_vectors), ("document", document_vectors))
    }
    shape = len(vectors["query"]), len(vectors["document"])
    pairs = np.argwhere(np.ones(shape))  # every query with every document
    packed = [Packed.of(of_role) for of_role in vectors.values()]
    maxsim = late_interaction.maxsim(packed[0], packed[1], pairs).numpy()
    scores = {
        "dense": maths.dense(query_dense, dense),
        "sparse": maths.lexical(query_sparse, sparse.T.tocsr()).toarray(),
        "multi_vector": maxsim.reshape(shape),
    }
    weights = [
        token_weights(tokenization, query_sparse[[i]]) for i in range(len(example["queries"]))
    ]
    for origin in ("notebook", "readme"):
        published = example[origin]
        tolerance = max(TOLERANCE[precision], TOLERANCE[published["precision"]])
        for name in HAS:
            yield from _matrix(f"{origin}: {name}", published[name], scores[name], tolerance)
        for entry in published["weighted"]:
            parts = {name: scores[name].ravel() for name in entry["weights"]}
            total = maths.weighted_sum(parts, entry["weights"]) / sum(entry["weights"].values())
            label = " + ".join(f"{weight} {name}" for name, weight in entry["weights"].items())
            name = f"{origin}: {label}"
            yield from _matrix(name, entry["scores"], total.reshape(shape), tolerance)
        for i, expected in enumerate(published["lexical_weights"]):
            for token in dict.fromkeys([*expected, *weights[i]]):
                name = f"{origin}: weight of {token!r} in query {i + 1}"
                yield Check(name, expected.get(token, 0.0), weights[i].get(token, 0.0), tolerance)
        for text, (count, width) in published["vectors"].items():
            role, number = text.split()
            of_text = vectors[role][int(number) - 1]
            yield Check(f"{origin}: vectors of {text}", count, of_text.shape[0], 0)
            yield Check(f"{origin}: their width", width, of_text.shape[1], 0)


def all_three(encoded: Representations) -> tuple[np.ndarray, scipy.sparse.csr_array, Ragged]:
    """Dense, sparse and multi-vectors, all of which the encoder was asked for."""
    dense, sparse, multi_vector = encoded.dense, encoded.sparse, encoded.multi_vector
    assert dense is not None and sparse is not None and multi_vector is not None
    return dense, sparse, multi_vector


def token_weights(tokenization: Tokenization, row: scipy.sparse.csr_array) -> dict[str, float]:
    """The lexical weights of a text, [1, vocabulary], by what its tokens look like.

    Of tokens that look alike the largest weight counts.
    """
    weights: dict[str, float] = {}
    for token, weight in zip(row.indices.tolist(), row.data.tolist(), strict=True):
        text = tokenization.tokenizer.decode([token])
        weights[text] = max(weight, weights.get(text, 0.0))
    return weights


def show(compared: list[Check]) -> None:
    """Prints a line for every value."""
    say(f"{'':8} {'published':>10} {'ours':>10} {'delta':>10} {'allowed':>8}  value")
    for check in compared:
        state, delta = "ok" if check.ok else "DIFFERS", check.got - check.expected
        numbers = f"{check.expected:10.5f} {check.got:10.5f} {delta:+10.5f} {check.tolerance:8g}"
        say(f"{state:8} {numbers}  {check.name}")


def _matrix(
    name: str, published: list[list[float]], scores: np.ndarray, tolerance: float
) -> Iterator[Check]:
    """A check for every printed score of query i with document j."""
    for i, row in enumerate(published):
        for j, value in enumerate(row):
            pair = f"{name}, query {i + 1}, document {j + 1}"
            yield Check(pair, value, float(scores[i][j]), tolerance)
