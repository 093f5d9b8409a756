"""A point of parameter space, as it is measured: the gradient there, and products with matrices."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Matvec = Callable[[np.ndarray], np.ndarray]


class Point(NamedTuple):
    """The loss at a point; vectors are flat float64 (P,), in the order of `ModelConfig.layout`.

    Attributes:
        gradient: (P,) in nats per rad.
        hessian: v -> H v.
        gauss_newton: v -> G v.
        residual: v -> R v with R = H - G.
        gauss_newton_per_patch: v -> the diagonal blocks G_pp times v, all circuits at once; nothing on the bias.
        class_means: () -> (C, P), mean gradient of the own-class logit over the images of each class that has any.
    """

    gradient: np.ndarray
    hessian: Matvec
    gauss_newton: Matvec
    residual: Matvec
    gauss_newton_per_patch: Matvec
    class_means: Callable[[], np.ndarray]
