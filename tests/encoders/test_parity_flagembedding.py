"""Our BGE-M3 against FlagEmbedding's on one random checkpoint in fp32: representations and scores
agree to 1e-5.
"""

import random

import numpy as np
import pytest

from bench.flagembedding import flagembedding
from m3eval.encoders import m3 as family
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.representations import Packed
from m3eval.retrievers import late_interaction
from m3eval.retrievers import scores as maths
from m3eval.runtime import settle
from tests.conftest import words
from tests.needs import needs

pytestmark = needs("FlagEmbedding")

LIMIT = 64  # tokens; some texts are longer
LENGTHS = random.Random(0)
TEXTS = [
    *(words(seed, LENGTHS.randint(1, 25)) for seed in range(45)),
    *(
        "",
        " ",
        "\n\t",
        "\u3000",
        "a",
        "?",
        "ba ba ba ba",
        "BA ba",
        "zzz" * 300,
        words(100, 200),
        words(101, 64),
    ),
    *(
        "😀🚀 emoji",
        "①ﬁｒｅ café",
        "<s> </s>",
        "<mask> ba",
        "中文 日本語 한국어",
        "النص العربي",
        "हिन्दी पाठ",
        "ba\u200bda",
        "1,234.5",
    ),
]
ALL = ["dense", "sparse", "multi_vector"]
WEIGHTS = {"dense": 0.4, "sparse": 0.2, "multi_vector": 0.4}
EXACT = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def theirs(m3):
    return flagembedding().BGEM3FlagModel(str(m3), use_fp16=False, devices="cpu")


@pytest.fixture(scope="module")
def encoder(m3):
    return family.load("m3", "M3", str(m3), None, settle("cpu", "fp32", 1, 512, 1000, 1000))


@pytest.fixture(scope="module")
def ours(encoder):
    return encoder.encode(Request(TEXTS, "document", LIMIT), Wanted(ALL, np.float32))


@pytest.fixture(scope="module")
def expected(theirs):
    wanted = {"return_dense": True, "return_sparse": True, "return_colbert_vecs": True}
    return theirs.encode(TEXTS, batch_size=16, max_length=LIMIT, **wanted)


def test_dense(ours, expected):
    np.testing.assert_allclose(ours.dense, expected["dense_vecs"], **EXACT)


def test_sparse(ours, expected):
    for i, theirs in enumerate(expected["lexical_weights"]):
        row = ours.sparse[[i]]
        assert {str(token) for token in row.indices} == set(theirs), TEXTS[i]
        np.testing.assert_allclose(
            row.data, [theirs[str(token)] for token in row.indices], **EXACT, err_msg=TEXTS[i]
        )


def test_multi_vector(ours, expected):
    assert ours.truncated >= 3
    for i, theirs in enumerate(expected["colbert_vecs"]):
        assert ours.multi_vector[i].shape == theirs.shape, TEXTS[i]
        np.testing.assert_allclose(ours.multi_vector[i], theirs, **EXACT, err_msg=TEXTS[i])


def test_scores(ours, theirs):
    """One pair at a time: in their batches the padding of a document takes part in MaxSim as
    vectors of zeros.
    """
    pairs = [(i, (7 * i + 3) % len(TEXTS)) for i in range(len(TEXTS))] + [(i, i) for i in range(3)]
    weights = [WEIGHTS[name] for name in ALL]  # their order: dense, sparse, multi-vector
    lengths = {"max_query_length": LIMIT, "max_passage_length": LIMIT}  # their names
    expected = theirs.compute_score(
        [(TEXTS[q], TEXTS[p]) for q, p in pairs],
        batch_size=1,
        weights_for_different_modes=weights,
        **lengths,
    )
    vectors = Packed.of([ours.multi_vector[i] for i in range(len(TEXTS))])
    queries, documents = (np.array(column) for column in zip(*pairs, strict=True))
    found = {
        "dense": np.array([maths.dense(ours.dense[[q]], ours.dense[[p]])[0, 0] for q, p in pairs]),
        "sparse": maths.lexical_pairs(ours.sparse[queries], ours.sparse[documents]),
        "multi_vector": late_interaction.maxsim(vectors, vectors, np.array(pairs)).numpy(),
    }
    np.testing.assert_allclose(found["dense"], expected["dense"], **EXACT)
    np.testing.assert_allclose(found["sparse"], expected["sparse"], **EXACT)
    np.testing.assert_allclose(found["multi_vector"], expected["colbert"], **EXACT)
    # They divide a weighted sum by the sum of its weights, which changes no order; the paper and
    # m3eval do not.
    both = {name: WEIGHTS[name] for name in ("dense", "sparse")}
    np.testing.assert_allclose(
        maths.weighted_sum(found, both) / 0.6, expected["sparse+dense"], **EXACT
    )
    np.testing.assert_allclose(
        maths.weighted_sum(found, WEIGHTS), expected["colbert+sparse+dense"], **EXACT
    )
