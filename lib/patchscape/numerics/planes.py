"""Pictures of a loss in few dimensions: planes through parameter space, grids on them, one-dimensional paths.

Functions take flat parameter vectors and a loss of such a vector, and know nothing of the model.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np


class Plane(NamedTuple):
    """A plane through parameter space.

    Attributes:
        origin: (P,) the point at coordinates (0, 0).
        directions: (2, P).
        coordinates: (T, 2) coordinates of the points that the plane was made from (orthogonal projections).
        explained: (2,) share of the points' variance along each direction; NaN if there are no points.
    """

    origin: np.ndarray
    directions: np.ndarray
    coordinates: np.ndarray
    explained: np.ndarray


def pca_plane(path: np.ndarray, origin: int) -> Plane:
    """Plane of the two leading principal components of a path (`author's code`).

    Args:
        path: (T, P), T at least 3.
        origin: number of the point that becomes the origin.

    Returns:
        The plane; the sign of each direction makes its entry of largest size positive.

    Raises:
        ValueError: if the path has fewer than 3 points.
    """
    path = np.asarray(path, np.float64)
    if path.ndim != 2 or len(path) < 3:
        raise ValueError(f"path has shape {path.shape}; a plane needs (T, P) with T at least 3.")
    centred = path - path.mean(0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2] * np.sign([row[np.abs(row).argmax()] for row in directions[:2]])[:, None]
    variance = singular**2
    return Plane(path[origin], directions, (path - path[origin]) @ directions.T, variance[:2] / variance.sum())


def random_plane(origin: np.ndarray, groups: np.ndarray, seed: int) -> Plane:
    """Random plane with filter-normalised directions: in each group of parameters as long as the origin is there.

    Args:
        origin: (P,).
        groups: (P,) group number of each parameter; here one group per circuit and one for the bias.
        seed: of the directions.

    Returns:
        The plane, without points.
    """
    origin = np.asarray(origin, np.float64)
    directions = np.random.default_rng(seed).standard_normal((2, len(origin)))
    for group in np.unique(groups):
        inside = groups == group
        length = np.linalg.norm(origin[inside])
        directions[:, inside] *= length / np.linalg.norm(directions[:, inside], axis=1, keepdims=True)
    return Plane(origin, directions, np.zeros((0, 2)), np.full(2, np.nan))


def grid_losses(
    loss: Callable[[jax.Array], jax.Array], plane: Plane, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Losses on a grid of a plane.

    Args:
        loss: flat parameters (P,) -> scalar.
        plane: the plane.
        first: (A,) coordinates along the first direction.
        second: (B,) coordinates along the second.

    Returns:
        (B, A) losses, rows along the second direction.
    """
    a, b = np.meshgrid(first, second)
    points = np.stack([a.ravel(), b.ravel()], 1)
    return path_losses(loss, plane.origin, plane.directions, points).reshape(a.shape)


def path_losses(
    loss: Callable[[jax.Array], jax.Array], origin: np.ndarray, directions: np.ndarray, coordinates: np.ndarray
) -> np.ndarray:
    """Losses at origin + coordinates @ directions.

    Args:
        loss: flat parameters (P,) -> scalar. It is compiled once, whatever the paths and planes.
        origin: (P,).
        directions: (k, P).
        coordinates: (T, k).

    Returns:
        (T,) losses.
    """
    points = np.asarray(origin + coordinates @ directions, np.float32)
    return np.array([_loss(loss, point) for point in points], np.float32)


@partial(jax.jit, static_argnums=0)
def _loss(loss: Callable, point: jax.Array) -> jax.Array:
    return loss(point)


def random_walk_explained(steps: int, size: int, seed: int, lengths: np.ndarray | None = None) -> np.ndarray:
    """Share of variance of the first two principal components of a Gaussian random walk {cite}`antognini2018pca`.

    Args:
        steps: number of steps.
        size: dimension of the space.
        seed: of the steps.
        lengths: (steps,) length of each step, if they shall not be equal on average.

    Returns:
        (2,), about 0.61 and 0.15 for many steps in a large space.
    """
    walk = np.random.default_rng(seed).standard_normal((steps + 1, size))
    if lengths is not None:
        walk[1:] *= lengths[:, None] / np.linalg.norm(walk[1:], axis=1, keepdims=True)
    walk = np.cumsum(walk, axis=0)
    return pca_plane(walk, 0).explained
