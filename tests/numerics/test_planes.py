"""Planes, grids and the random-walk null."""

import jax.numpy as jnp
import numpy as np
import pytest

from patchscape.numerics import planes


def test_pca_plane_of_a_planar_path_explains_everything():
    rng = np.random.default_rng(0)
    path = rng.normal(size=(12, 2)) @ rng.normal(size=(2, 30)) + rng.normal(size=30)
    plane = planes.pca_plane(path, origin=4)
    assert plane.explained.sum() == pytest.approx(1)
    np.testing.assert_allclose(plane.origin + plane.coordinates @ plane.directions, path, atol=1e-10)
    np.testing.assert_allclose(plane.directions @ plane.directions.T, np.eye(2), atol=1e-12)
    np.testing.assert_array_equal(plane.coordinates[4], [0, 0])


def test_grid_of_a_quadratic_is_exact():
    plane = planes.pca_plane(np.eye(5)[:4], origin=0)
    first, second = np.linspace(-1, 1, 3), np.linspace(0, 2, 4)
    losses = planes.grid_losses(lambda p: jnp.sum(p**2), plane, first, second)
    assert losses.shape == (4, 3)
    point = plane.origin + first[2] * plane.directions[0] + second[1] * plane.directions[1]
    assert losses[1, 2] == pytest.approx(np.sum(point**2), rel=1e-5)


def test_random_plane_has_the_length_of_the_point_in_every_group():
    origin = np.arange(1.0, 11.0)
    groups = np.repeat([0, 1], 5)
    plane = planes.random_plane(origin, groups, seed=3)
    for group in (0, 1):
        lengths = np.linalg.norm(plane.directions[:, groups == group], axis=1)
        np.testing.assert_allclose(lengths, np.linalg.norm(origin[groups == group]))


def test_random_walk_concentrates_in_few_components_as_theory_says():
    explained = planes.random_walk_explained(steps=200, size=4000, seed=0)
    assert explained[0] == pytest.approx(6 / np.pi**2, abs=0.03)  # Antognini and Sohl-Dickstein 2018
    assert explained[1] == pytest.approx(6 / np.pi**2 / 4, abs=0.02)


def test_a_path_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="T at least 3"):
        planes.pca_plane(np.zeros((2, 5)), 0)
