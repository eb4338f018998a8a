#!/usr/bin/env python3
"""Writes `statistics.json`: what SciPy and statsmodels say of fixed data.

The statistics of `src/compare/stats.rs` are tested against it.
Needs scipy and statsmodels:

    python tests/golden/statistics.py
"""

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
    for deviation, difference in [(0.5, 0.1), (0.62, 0.05), (0.35, 0.2), (0.48, 0.012)]:
        needed = normal_sample_size_one_tail(
            difference, power=0.8, alpha=0.025, std_null=deviation,
        )
        yield {"deviation": deviation, "difference": difference, "needed": float(needed)}


def rating_cases(random):
    """Bradley and Terry's model by direct maximisation, with half a win and half a loss of each
    arm against an arm of strength 1."""
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
        ratings = {arm: 1000 + 400 * float(found.x[i]) / np.log(10) for arm, i in index.items()}
        yield {"votes": votes, "ratings": ratings}


def main():
    random = np.random.default_rng(20261126)
    golden = {
        "mcnemar": list(mcnemar_cases()),
        "holm": list(holm_cases()),
        "sign_flips": list(sign_flip_cases(random)),
        "bootstrap": list(bootstrap_cases(random)),
        "sizes": list(size_cases()),
        "ratings": list(rating_cases(random)),
    }
    (HERE / "statistics.json").write_text(json.dumps(golden) + "\n")


main()
