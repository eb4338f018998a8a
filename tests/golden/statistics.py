#!/usr/bin/env python3
"""Writes `statistics.json`: what SciPy and statsmodels say of fixed data.

The statistics of `src/compare/stats.rs`, `intervals.rs` and `rating.rs` are tested against it.
Needs scipy and statsmodels:

    python tests/golden/statistics.py
"""

import itertools
import json
import pathlib

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import normal_sample_size_one_tail

HERE = pathlib.Path(__file__).resolve().parent


def mcnemar_cases():
    for wins, losses in [(0, 0), (1, 0), (5, 0), (0, 6), (3, 9), (7, 8), (12, 30), (700, 610)]:
        table = [[11, losses], [wins, 17]]
        yield {"wins": wins, "losses": losses, "p": float(mcnemar(table, exact=True).pvalue)}


def holm_cases():
    for p in [[0.01, 0.04, 0.03], [0.5, 0.001, 0.02, 0.02, 0.9, 0.3], [0.7], [0.9, 0.8]]:
        yield {"p": p, "adjusted": [float(it) for it in multipletests(p, method="holm")[1]]}


def sign_flip_cases(random):
    few = [0.5, -0.25, 0.125, 0.375, 0.0, 0.25, 0.5, -0.125, 0.0, 0.625]
    many = [round(float(it), 3) for it in random.normal(0.08, 0.3, 60)]
    for differences, n_resamples in [(few, np.inf), ([0.5, -0.5], np.inf), (many, 200_000)]:
        found = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=n_resamples,
            vectorized=False, rng=np.random.default_rng(1),
        )
        yield {"differences": differences, "p": float(found.pvalue)}


def bootstrap_cases(random):
    for n in [20, 65, 143]:
        first = [round(float(it), 3) for it in random.beta(0.6, 0.8, n)]
        second = [round(float(it), 3) for it in random.beta(0.9, 0.8, n)]
        difference = np.subtract(second, first)
        found = stats.bootstrap(
            (difference,), np.mean, n_resamples=50_000, method="percentile", batch=1000,
            rng=np.random.default_rng(2),
        ).confidence_interval
        yield {
            "first": first, "second": second, "mean": float(np.mean(difference)),
            "low": float(found.low), "high": float(found.high),
        }


def size_cases():
    cases = [(0.5, 0.1), (0.62, 0.05), (0.35, 0.2), (0.48, 0.012)]
    for alpha, (deviation, difference) in itertools.product([0.05, 0.05 / 10], cases):
        needed = normal_sample_size_one_tail(
            difference, power=0.8, alpha=alpha / 2, std_null=deviation,
        )
        yield {
            "alpha": alpha, "deviation": deviation, "difference": difference,
            "needed": float(needed),
        }


def quantile_cases():
    for alpha in [0.05, 0.05 / 3, 0.05 / 10, 0.05 / 45, 0.4]:
        yield {"alpha": alpha, "z": float(stats.norm.isf(alpha / 2))}


def share_cases():
    for k, n in [(0, 1), (1, 1), (0, 10), (9, 10), (10, 10), (61, 80), (98, 100), (700, 1310)]:
        for alpha in [0.05, 0.0125]:
            case = {"k": k, "n": n, "alpha": alpha}
            for method in ["wilson", "exact"]:
                found = stats.binomtest(k, n).proportion_ci(1 - alpha, method=method)
                case[method] = [float(found.low), float(found.high)]
            yield case


def paired_cases():
    """Tango's interval by its definition: the differences whose likeliest nuisance share, found by
    search, puts what was seen within 1.96 standard errors."""
    z = stats.norm.isf(0.025)

    def score(difference, wins, losses, n):
        # Shares of wins and losses that differ by `difference`, both of them at least 0.
        low, high = max(0.0, -difference), (1 - difference) / 2

        def loss(share):
            neither = 1 - 2 * share - difference
            ways = [(wins, share + difference), (losses, share), (n - wins - losses, neither)]
            return -sum(count * np.log(max(it, 1e-300)) for count, it in ways if count)

        share = optimize.minimize_scalar(
            loss, bounds=(low, high), method="bounded", options={"xatol": 1e-13},
        ).x
        # The search does not reach the ends of the range.
        share = min([low, share, high], key=loss)
        variance = n * (2 * share + difference * (1 - difference))
        return (wins - losses - n * difference) / np.sqrt(variance)

    cases = [(0, 0, 40), (1, 0, 88), (3, 9, 50), (25, 10, 100), (12, 2, 50), (5, 5, 12)]
    for wins, losses, n in cases:
        seen = (wins - losses) / n
        edge = 1e-9
        low = optimize.brentq(lambda it: score(it, wins, losses, n) - z, -1 + edge, seen - edge)
        high = optimize.brentq(lambda it: score(it, wins, losses, n) + z, seen + edge, 1 - edge)
        yield {"wins": wins, "losses": losses, "n": n, "interval": [float(low), float(high)]}


def rating_cases(random):
    """Bradley and Terry's model by direct maximisation, with half a win and half a loss of each
    arm against an arm of strength 1; spreads around the arms' mean by the curvature there, in finite
    differences."""
    strengths = {"base": 0.4, "rag": 2.0, "extract": 1.0, "rag+ft:rh": 2.5}
    for n, arms in [(60, list(strengths)), (400, list(strengths)), (9, ["rag", "base"])]:
        votes = []
        for _ in range(n):
            left, right = (str(it) for it in random.choice(arms, 2, replace=False))
            share = strengths[left] / (strengths[left] + strengths[right])
            draw = random.random()
            choice = "both" if draw > 0.9 else "neither" if draw > 0.8 else None
            votes.append([left, right, choice or ("left" if random.random() < share else "right")])
        if n == 9:
            votes = [["rag", "base", "left"]] * 9
        won = {"left": 1.0, "right": 0.0, "both": 0.5, "neither": 0.5}
        index = {arm: i for i, arm in enumerate(arms)}

        def loss(x):
            total = -0.5 * np.sum(stats.logistic.logcdf(x) + stats.logistic.logcdf(-x))
            for left, right, choice in votes:
                d = x[index[left]] - x[index[right]]
                share = won[choice]
                total -= share * stats.logistic.logcdf(d)
                total -= (1 - share) * stats.logistic.logcdf(-d)
            return total

        found = optimize.minimize(loss, np.zeros(len(arms)), method="BFGS", options={"gtol": 1e-9})
        scale = 400 / np.log(10)
        ratings = {arm: 1000 + scale * float(found.x[i]) for arm, i in index.items()}
        centred = np.eye(len(arms)) - 1 / len(arms)
        covariance = centred @ np.linalg.inv(curvature(loss, found.x)) @ centred
        errors = np.sqrt(np.diag(covariance))
        spread = {arm: float(scale * stats.norm.isf(0.025) * errors[i]) for arm, i in index.items()}
        yield {"votes": votes, "ratings": ratings, "spread": spread}


def curvature(loss, at, step=1e-3):
    n = len(at)
    res = np.zeros((n, n))
    for i, j in itertools.product(range(n), range(n)):
        for a, b in itertools.product([-step, step], [-step, step]):
            moved = np.array(at)
            moved[i] += a
            moved[j] += b
            res[i, j] += np.sign(a * b) * loss(moved) / (4 * step * step)
    return res


def main():
    random = np.random.default_rng(20261126)
    golden = {
        "mcnemar": list(mcnemar_cases()),
        "holm": list(holm_cases()),
        "sign_flips": list(sign_flip_cases(random)),
        "bootstrap": list(bootstrap_cases(random)),
        "sizes": list(size_cases()),
        "quantiles": list(quantile_cases()),
        "shares": list(share_cases()),
        "paired": list(paired_cases()),
        "ratings": list(rating_cases(random)),
    }
    (HERE / "statistics.json").write_text(json.dumps(golden) + "\n")


main()
