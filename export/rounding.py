"""Rounding weights to int8 so that what a layer gives stays, instead of each weight to its nearest step.

Each layer sees the calibration photos once, in float. Its weights are rounded one input at a time, and the error so far is
made up for by the weights not yet rounded, with the inputs' correlations for a guide (Frantar et al. 2023, "GPTQ",
arXiv:2210.17323); what is left of the mean error goes into the bias (Nagel et al. 2019, arXiv:1906.04721). The scale of a
channel stays its largest weight / 127, which is what the quantizers take, so they find whole numbers and round nothing more.

x86 processors without VNNI (all before 2019, many small ones since) add two products of an unsigned 8-bit activation and a weight
in 16 bits and saturate: 255 * 127 twice is too much. ONNX Runtime's int8 kernels do that; an encoder that was right elsewhere had
a cosine of 0.98 to itself there. With `in_pairs`, neighbours' weights add up to at most 128, for which a channel with two large
ones side by side gets a larger scale. (The usual remedy, 7 bits for all weights, costs twice as much cosine.)

A channel whose weights are nothing beside its bias, as training leaves some, has no scale by which 32 bits hold the bias: one
such channel of a small network was half of what int8 cost it. It gets a weight that does next to nothing, and a scale with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Rounded(NamedTuple):
    """A weight in whole steps, shaped as its layer has it; what its bias gains, (outputs,); each output's step, (outputs,),
    0 where nothing was rounded."""

    weight: NDArray[np.float32]
    correction: NDArray[np.float32]
    step: NDArray[np.float64]


MOST_OF_A_PAIR: Final = 128
"""255 * 128 is the largest multiple of 255 that 16 bits hold."""

POSITIONS: Final = 512
"""Of each photo's map, spread evenly: 64 photos give 32,768 samples of at most some thousand inputs."""
_DAMPING: Final = 0.01
"""Added to the correlations' diagonal, as a share of its mean; the paper's value."""
LEAST_PART: Final = 1e-4
"""What a channel's weights may give at least, as a part of its bias: the bias is then at most 127 * 255 / LEAST_PART steps, an
eighth of what 32 bits hold."""


@dataclass
class Layer:
    """A convolution or matrix product: weight (outputs, height, width, inputs of a group), and what it has seen.

    `padding`: before and after, of height and width. A matrix product is a 1x1 convolution of one place. `bias`: (outputs,).
    `one_scale`: all channels have the largest one's. `in_pairs`: see above.
    """

    weight: NDArray[np.float32]
    groups: int = 1
    strides: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    bias: NDArray[np.float32] | None = None
    one_scale: bool = False
    in_pairs: bool = False
    _products: Any = field(default=0.0, init=False)
    _sum: Any = field(default=0.0, init=False)
    _seen: int = field(default=0, init=False)
    _largest: float = field(default=0.0, init=False)

    def see(self, inputs: NDArray[np.float32]) -> None:
        """Take in what the layer got for one photo: (N, height, width, channels), or (..., inputs) of a matrix product."""
        found = self._patches(inputs).astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):  # `rounded` sees to it
            self._products = self._products + found @ found.transpose(0, 2, 1)
        self._sum = self._sum + found.sum(axis=2)
        self._seen += found.shape[2]
        self._largest = max(self._largest, float(np.abs(found).max()))

    def rounded(self) -> Rounded:
        """The weight in whole steps, in the given shape, and what to add to the bias, (outputs,)."""
        wide = self.weight.reshape(self.groups, -1, self._inputs).astype(np.float64)
        if not (np.isfinite(wide).all() and np.isfinite(self._products).all()):
            # A network that overflows on a photo: the quantizer may do what it can, and the gate judges.
            nothing = np.zeros(len(self.weight))
            return Rounded(self.weight, nothing.astype(np.float32), nothing)
        whole, step = _in_steps(self._held(wide), self._products / self._seen, self.one_scale, self.in_pairs)
        correction = np.einsum("gri,gi->gr", wide - whole, self._sum / self._seen)
        weight = whole.reshape(self.weight.shape).astype(np.float32)
        return Rounded(weight, correction.ravel().astype(np.float32), step.ravel())

    def _held(self, wide: Floats) -> Floats:
        """Weights (G, R, K) by whose scales 32 bits hold the biases."""
        if self.bias is None or self.one_scale or self._largest == 0:
            return wide
        least = (LEAST_PART * np.abs(self.bias.astype(np.float64)) / self._largest).reshape(wide.shape[:2])
        largest = np.abs(wide).argmax(axis=2)[:, :, np.newaxis]
        peak = np.take_along_axis(wide, largest, axis=2)
        held = wide.copy()
        np.put_along_axis(
            held, largest, np.where(np.abs(peak) < least[:, :, np.newaxis], least[:, :, np.newaxis], peak), axis=2
        )
        return held

    @property
    def _inputs(self) -> int:
        return int(np.prod(self.weight.shape[1:]))

    def _patches(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(groups, height * width * inputs, places): what each output is computed from."""
        height, width, _ = self.weight.shape[1:]
        if inputs.ndim != 4:
            inputs = inputs.reshape(1, 1, -1, inputs.shape[-1])
        padded = np.pad(inputs, ((0, 0), *self.padding, (0, 0)))
        windows = sliding_window_view(padded, (height, width), axis=(1, 2))[:, :: self.strides[0], :: self.strides[1]]
        places = windows.shape[0] * windows.shape[1] * windows.shape[2]
        chosen = np.unravel_index(np.arange(0, places, -(-places // POSITIONS)), windows.shape[:3])
        found = windows[chosen].reshape(len(chosen[0]), self.groups, -1, height, width)
        return found.transpose(1, 3, 4, 2, 0).reshape(self.groups, self._inputs, -1)


def _in_steps(weight: Floats, correlations: Floats, one_scale: bool, in_pairs: bool) -> tuple[Floats, Floats]:
    """Weights (G, R, K) in whole steps, and the steps (G, R): a 127th of each row's largest, or of the largest of all, or what
    pairs ask for; correlations (G, K, K) of inputs."""
    step = np.abs(weight).max(axis=2) / 127
    if in_pairs:
        # One less than a pair may have: both round up.
        step = np.maximum(step, _largest_pair(weight) / (MOST_OF_A_PAIR - 1))
    if one_scale:
        step[:] = step.max()
    step[step == 0] = 1
    groups, inputs = np.arange(len(weight))[:, np.newaxis], weight.shape[2]
    power = np.diagonal(correlations, axis1=1, axis2=2)
    damped = correlations + np.eye(inputs) * (_DAMPING * power.mean(axis=1) + 1e-9)[:, np.newaxis, np.newaxis]
    # The strongest inputs first: the others can still make up for them.
    order = np.argsort(-power, axis=1, kind="stable")
    damped = damped[groups[:, :, np.newaxis], order[:, :, np.newaxis], order[:, np.newaxis, :]]
    guide = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    left = np.take_along_axis(weight, order[:, np.newaxis, :], axis=2).copy()
    numbers = np.zeros((*weight.shape[:2], inputs + inputs % 2))
    for i in range(inputs):
        here = order[:, i]
        number = np.clip(np.round(left[:, :, i] / step), -127, 127)
        if in_pairs:
            beside = numbers[groups[:, 0], :, here ^ 1]
            number = np.minimum(number, np.where(beside > 0, MOST_OF_A_PAIR - beside, 127))
            number = np.maximum(number, np.where(beside < 0, -MOST_OF_A_PAIR - beside, -127))
        numbers[groups[:, 0], :, here] = number
        error = (left[:, :, i] - number * step) / guide[:, i, i, np.newaxis]
        left[:, :, i:] -= error[:, :, np.newaxis] * guide[:, i, np.newaxis, i:]
    found = numbers[:, :, :inputs] * step[:, :, np.newaxis]
    # The largest weight stays what it is: the quantizer takes the scale from it.
    largest = np.abs(weight).argmax(axis=2)[:, :, np.newaxis]
    exact = np.take_along_axis(weight, largest, axis=2)
    sets_scale = np.abs(exact) >= 126.99 * step[:, :, np.newaxis]
    np.put_along_axis(found, largest, np.where(sets_scale, exact, np.take_along_axis(found, largest, axis=2)), axis=2)
    return found, step


def _largest_pair(weight: Floats) -> Floats:
    """(G, R): of weights (G, R, K), the largest sum of what has one sign in two neighbours, the first and second, third and
    fourth…, as kernels take them from memory."""
    even = np.pad(weight, ((0, 0), (0, 0), (0, weight.shape[2] % 2)))
    pairs = even.reshape(*weight.shape[:2], -1, 2)
    found: Floats = np.maximum(np.maximum(pairs, 0).sum(axis=3), np.maximum(-pairs, 0).sum(axis=3)).max(axis=2)
    return found
