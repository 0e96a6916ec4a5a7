"""Is one system better than another? Paired statistics over per-query scores.

A table's average is the mean of its languages' means, so that is what is tested: the statistic of
every test is

    sum over languages l and their queries q of  d[l, q] / (L n[l])

where d is the difference of two systems on a query, n[l] the queries of language l and L the number
of languages. With one language it is the plain mean. Queries are flipped and resampled within their
language. The t distribution and the bootstrap are scipy's.

Scores are ratios of small integers and logarithms, so what differs by less than TIE differs by
rounding only. Differences that vary by no more than that do not vary: no test may read a variance
out of noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from m3eval.lazy import scipy

Test = Literal["permutation", "t"]
TIE = 1e-9  # of the scale: scores, which go from 0 to 1, are equal where they are nearer
VALUES_AT_ONCE = 1_000_000  # of a resampling; bounds memory


class Paired(NamedTuple):
    """System minus baseline over the same queries; scores in [0, 1]."""

    queries: int
    difference: float  # mean of the languages' mean differences
    low: float  # confidence interval of it; nan: see `remark`
    high: float
    p: float  # two-sided; not corrected; nan: see `remark`
    effect: float | None  # Cohen's d of paired differences; None: they do not vary, but are not 0
    wins: int
    ties: int
    losses: int
    remark: str | None = None  # why figures are not given


def paired(
    differences: Sequence[np.ndarray],
    test: Test = "permutation",
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Paired:
    """Everything that is said about two systems over one or more languages.

    Args:
        differences: per language [n] differences of the queries' scores, n >= 1.
        test: permutation flips signs and assumes nothing of how differences are spread; t assumes
            normal means.
        resamples: of the permutation test and of the bootstrap.
        confidence: of the interval.
        seed: of both.
    """
    arrays = [
        np.where(np.abs(d) < TIE, 0.0, d) for d in (np.asarray(d, np.float64) for d in differences)
    ]
    low, high = interval(arrays, confidence, resamples, seed)
    every = np.concatenate(arrays)
    return Paired(
        len(every),
        float(np.mean([d.mean() for d in arrays])),
        low,
        high,
        permutation_test(arrays, resamples, seed) if test == "permutation" else t_test(arrays),
        effect_size(arrays),
        int((every > 0).sum()),
        int((every == 0).sum()),
        int((every < 0).sum()),
        _remark(arrays),
    )


def _remark(differences: Sequence[np.ndarray]) -> str | None:
    """Why some figure about these differences cannot be given."""
    if any(len(d) < 2 for d in differences):
        return "a language has a single query"
    if any(d.any() for d in differences) and not any(map(variance, differences)):
        return "differences do not vary"
    return None


def variance(differences: np.ndarray) -> float:
    """The unbiased variance of one language's differences, [n]; 0 where they do not vary."""
    if len(differences) < 2 or np.ptp(differences) < TIE:
        return 0.0
    return float(differences.var(ddof=1))


def permutation_test(differences: Sequence[np.ndarray], resamples: int, seed: int) -> float:
    """Two-sided p of the paired randomisation test: signs of single queries are flipped at random.

    Exact when the queries that differ have no more than `resamples` sign patterns; else the
    observed pattern counts as one of the resampled ones, so p is never 0. It is twice the smaller
    of the two tails, as scipy's `permutation_test` has it. The sums of all patterns are products of
    a matrix of flips with the terms.
    """
    terms = np.concatenate([d / (len(d) * len(differences)) for d in differences])
    terms = terms[terms != 0]  # flipping a 0 changes nothing
    if len(terms) < 2:  # both signs of one difference are as far from 0
        return 1.0
    terms /= np.abs(terms).max()
    flips: Iterable[np.ndarray]
    if 2 ** len(terms) <= resamples:
        flips, added = [_every_pattern(len(terms))], 0
    else:
        flips, added = _patterns(len(terms), resamples, np.random.default_rng(seed)), 1
    observed = terms.sum()
    # Patterns tie, whatever the order in which their terms were added.
    below, above, tried = observed - TIE, observed + TIE, added
    not_lower = not_higher = added
    for flipped in flips:
        sums = observed - 2 * (flipped @ terms)
        not_lower += int((sums >= below).sum())
        not_higher += int((sums <= above).sum())
        tried += len(sums)
    return min(1.0, 2 * min(not_lower, not_higher) / tried)


def _every_pattern(n: int) -> np.ndarray:
    """[2^n, n] float64: 1 where a sign is flipped, else 0."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.float64)


def _patterns(n: int, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """`count` random such patterns, [block, n] at a time: a bit of the generator for each sign."""
    words = -(-n // 64)  # of 64 bits; so no pattern depends on the size of the blocks
    block = max(1, VALUES_AT_ONCE // n)
    for start in range(0, count, block):
        shape = (min(block, count - start), words)
        drawn = rng.integers(0, 2**64 - 1, shape, np.uint64, endpoint=True).astype("<u8")
        yield np.unpackbits(drawn.view(np.uint8), axis=1, count=n).astype(np.float64)


def t_test(differences: Sequence[np.ndarray]) -> float:
    """Two-sided p of the paired t-test.

    Languages have variances of their own, with Welch's degrees of freedom. 1 where nothing differs;
    nan where a language has a single query, or where differences never vary.
    """
    n = np.array([len(d) for d in differences])
    mean = np.mean([d.mean() for d in differences])
    if not any(d.any() for d in differences):
        return 1.0
    if (n < 2).any():
        return math.nan
    # Each language's part of the statistic's variance.
    parts = np.array([variance(d) for d in differences]) / n / len(differences) ** 2
    if not parts.sum():
        return math.nan
    freedom = parts.sum() ** 2 / (parts**2 / (n - 1)).sum()
    return float(2 * scipy.stats.t.sf(abs(mean) / math.sqrt(parts.sum()), freedom))


def interval(
    differences: Sequence[np.ndarray], confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap interval of the statistic.

    Queries are drawn again within each language. nan where a language has a single query, or where
    differences never vary: drawing them again tells nothing. 0 to 0 where nothing differs.
    """
    if any(len(d) < 2 for d in differences):
        return math.nan, math.nan
    if not any(d.any() for d in differences):
        return 0.0, 0.0
    if not any(map(variance, differences)):
        return math.nan, math.nan
    result = scipy.stats.bootstrap(
        [*differences],
        lambda *drawn, axis: np.mean([d.mean(axis=axis) for d in drawn], axis=0),
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, VALUES_AT_ONCE // max(map(len, differences))),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def effect_size(differences: Sequence[np.ndarray]) -> float | None:
    """Cohen's d of paired differences: the statistic by the standard deviation within languages.

    That is the root of the mean of their variances.
    """
    mean = np.mean([d.mean() for d in differences])
    variances = [variance(d) for d in differences if len(d) > 1]
    spread = math.sqrt(np.mean(variances)) if variances else 0.0
    if spread == 0:
        return 0.0 if mean == 0 else None
    return float(mean / spread)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: adjusted p values in the order given.

    A nan stays one and counts for nothing.
    """
    family = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    adjusted, highest = list(p_values), 0.0
    for place, i in enumerate(sorted(family, key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(family) - place) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def paired_differences(system: Mapping[str, float], baseline: Mapping[str, float]) -> np.ndarray:
    """[n] scores of a system minus those of a baseline, in the order of the system's n queries.

    Raises:
        ValueError: they are not over the same queries.
    """
    if system.keys() != baseline.keys():
        raise ValueError("paired statistics need the same queries on both sides")
    return np.array([score - baseline[qid] for qid, score in system.items()], np.float64)
