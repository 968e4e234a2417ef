"""Weighted logistic regression by Newton's method: how scores become probabilities (Platt scaling).

J. Platt 1999, "Probabilistic outputs for support vector machines". A slight ridge keeps it finite where the samples are separable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

_LIMIT = 30.0
"""Logits beyond this are as good as certain, and exp stays finite."""


def chances(design: Doubles, beta: Doubles) -> Doubles:
    """(N,) probabilities from 0 to 1 of the rows of (N, F) under weights (F,)."""
    result: Doubles = 1 / (1 + np.exp(-np.clip(design @ beta, -_LIMIT, _LIMIT)))
    return result


def newton(
    design: Doubles,
    right: NDArray[np.bool_] | Doubles,
    weights: Doubles,
    ridge: Doubles,
    start: Doubles,
    damping: float = 0.0,
) -> Doubles:
    """(F,) weights of the columns of `design` (N, F) with the least weighted log loss of `right` (N,).

    `weights` (N,) add up to 1; `ridge` (F, F) is the penalty's curvature; `damping` makes steps that a flat direction would make
    endless finite, and changes no optimum.
    """
    beta = start
    for _ in range(50):
        chance = chances(design, beta)
        gradient = design.T @ (weights * (right - chance)) - ridge @ beta
        curvature = (
            (design * (weights * chance * (1 - chance))[:, np.newaxis]).T @ design + ridge + damping * np.eye(len(beta))
        )
        step = np.linalg.solve(curvature, gradient)
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            break
    return beta


def fit_logistic(features: Doubles, right: NDArray[np.bool_], weights: Doubles) -> Doubles:
    """(1 + F,): the intercept and a weight for each of (N, F) features of any scale; the ridge is on their standardized weights."""
    mean = weights @ features
    spread = np.sqrt(weights @ (features - mean) ** 2) + 1e-6
    design = np.column_stack([np.ones(len(features)), (features - mean) / spread])
    numbers = design.shape[1]
    ridge = np.diag([0.0, *[1e-3] * (numbers - 1)])
    beta = newton(design, right, weights, ridge, np.zeros(numbers), damping=1e-9)
    slopes = beta[1:] / spread
    return np.concatenate([[beta[0] - slopes @ mean], slopes])


def fit_platt(logits: Doubles, right: Doubles, weights: Doubles) -> tuple[float, float, float]:
    """Intercept, slope and log loss of a probability 1 / (1 + exp(-(intercept + slope * logit))), for (N,) logits that are nearly
    right as they are: the search begins at slope 1."""
    design = np.column_stack([np.ones(len(logits)), logits])
    beta = newton(design, right, weights, 1e-3 * np.eye(2), np.array([0.0, 1.0]))
    chance = np.clip(chances(design, beta), 1e-9, 1 - 1e-9)
    loss = -float((weights * (right * np.log(chance) + (1 - right) * np.log(1 - chance))).sum())
    return float(beta[0]), float(beta[1]), loss
