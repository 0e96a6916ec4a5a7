"""Heads and collectors against plain loops over each text's own tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m3eval.encoders.engine.backbone import Hidden
from m3eval.encoders.heads.dense import PooledVector
from m3eval.encoders.heads.multi_vector import TokenVectors
from m3eval.encoders.heads.sparse import TokenWeights, largest_of_each

LENGTHS = np.array([9, 4, 4, 2, 1])
VOCABULARY, WIDTH = 11, 6


@pytest.fixture
def hidden() -> Hidden:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(LENGTHS.sum(), WIDTH)).astype(np.float32)
    ids = rng.integers(0, VOCABULARY, LENGTHS.sum())
    return Hidden(
        np.array([3, 0, 4, 1, 2]), LENGTHS, torch.from_numpy(ids), torch.from_numpy(states)
    )


def texts_of(hidden: Hidden, values: torch.Tensor) -> list[np.ndarray]:
    return np.split(values.numpy(), np.cumsum(LENGTHS)[:-1])


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
@pytest.mark.parametrize("normalize", [True, False])
def test_dense(hidden, pooling, normalize):
    pool = {
        "cls": lambda states: states[0],
        "last": lambda states: states[-1],
        "mean": lambda states: states.mean(0),
    }[pooling]
    expected = np.stack([pool(states) for states in texts_of(hidden, hidden.states)])
    if normalize:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    (found,) = PooledVector(pooling, normalize)(hidden, 0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_half_precision_states_are_pooled_in_fp32(hidden):
    half = hidden._replace(states=hidden.states.bfloat16())
    exact = hidden._replace(states=hidden.states.bfloat16().float())
    for pooling in ("cls", "mean", "last"):
        assert torch.equal(PooledVector(pooling)(half, 0)[0], PooledVector(pooling)(exact, 0)[0])


@pytest.mark.parametrize("n_prefix", [0, 1, 3])
@pytest.mark.parametrize("normalize", [True, False])
def test_sparse(hidden, n_prefix, normalize):
    rng = np.random.default_rng(1)
    weights = torch.from_numpy(rng.normal(size=len(hidden.ids)).astype(np.float32))
    head = TokenWeights(lambda hidden: weights, {0, 2}, VOCABULARY, normalize)
    expected = np.zeros((5, VOCABULARY), np.float32)
    for row, ids, values in zip(
        hidden.rows, texts_of(hidden, hidden.ids), texts_of(hidden, weights), strict=True
    ):
        for token, weight in zip(ids[1 + n_prefix :], values[1 + n_prefix :], strict=True):
            if token not in (0, 2):
                expected[row, token] = max(expected[row, token], weight)
    assert expected.any()
    if normalize:
        expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-9)
    collector = head.collector(LENGTHS, n_prefix, np.float16)
    collector.add(hidden.rows, *(tensor.numpy() for tensor in head(hidden, n_prefix)))
    found = collector.result()
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-6 if normalize else 0)
    assert found.has_sorted_indices and (found.data > 0).all()


@pytest.mark.parametrize("drop_eos", [True, False])
@pytest.mark.parametrize("linear", [True, False])
def test_multi_vector(hidden, drop_eos, linear):
    layer = torch.nn.Linear(WIDTH, 3).requires_grad_(False) if linear else None
    head = TokenVectors(layer, drop_eos, 3 if linear else WIDTH)
    lengths = np.empty(5, np.int64)
    lengths[hidden.rows] = LENGTHS
    collector = head.collector(lengths, 1, np.float32)
    collector.add(hidden.rows, *(tensor.numpy() for tensor in head(hidden, 1)))
    found = collector.result()
    for row, states in zip(hidden.rows, texts_of(hidden, hidden.states), strict=True):
        expected = states[2 : len(states) - drop_eos]
        if linear:
            expected = expected @ layer.weight.numpy().T + layer.bias.numpy()
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(found[row], expected, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 2, 300])
def test_largest_of_each_key(n):
    rng = np.random.default_rng(n)
    keys, values = rng.integers(0, 40, n), rng.random(n, np.float32)
    expected: dict[int, float] = {}
    for key, value in zip(keys.tolist(), values.tolist(), strict=True):
        expected[key] = max(value, expected.get(key, 0.0))
    ordered, first, largest = largest_of_each(torch.from_numpy(keys), torch.from_numpy(values))
    found = dict(zip(ordered[first].tolist(), largest[: len(expected)].tolist(), strict=True))
    assert found == expected and list(found) == sorted(expected)
