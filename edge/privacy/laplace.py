"""Exact noise for differential privacy: the discrete Laplace distribution over integers, without a floating-point number.

C. Canonne, G. Kamath and T. Steinke 2020, "The Discrete Gaussian for Differential Privacy", algorithms 1 and 2. Noise made of
floating-point numbers gives itself away in their last bits (I. Mironov 2012, "On significance of the least significant bits for
differential privacy").
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from fractions import Fraction

from ..errors import PrivacyError

Below = Callable[[int], int]
"""A uniform whole number from 0 to below its argument."""


def discrete_laplace(epsilon: Fraction, sensitivity: int = 1, below: Below = secrets.randbelow) -> int:
    """An integer x with a probability in proportion to exp(-|x| * epsilon / sensitivity): added to a count that one person can
    change by `sensitivity` at most, it makes the sum epsilon-differentially private. Raises PrivacyError."""
    if epsilon <= 0 or sensitivity < 1:
        raise PrivacyError(
            f"epsilon {epsilon} and sensitivity {sensitivity} arrived; expected more than 0, and 1 at least"
        )
    scale = Fraction(epsilon) / sensitivity
    s, t = scale.numerator, scale.denominator
    while True:
        u = below(t)
        if not _bernoulli_exp(Fraction(u, t), below):
            continue
        v = 0
        while _bernoulli_exp(Fraction(1), below):
            v += 1
        size = (u + t * v) // s
        is_negative = below(2) == 1
        if not (is_negative and size == 0):  # zero has one sign
            return -size if is_negative else size


def _bernoulli(chance: Fraction, below: Below) -> bool:
    return below(chance.denominator) < chance.numerator


def _bernoulli_exp(gamma: Fraction, below: Below) -> bool:
    """True with probability exp(-gamma), for gamma from 0 to 1 (algorithm 1)."""
    k = 1
    while _bernoulli(gamma / k, below):
        k += 1
    return k % 2 == 1
