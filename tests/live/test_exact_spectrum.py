"""Exact spectra that a chapter makes on the spot."""

import numpy as np
import pytest
from cases import RUN

from patchscape.live import exact_spectrum


@pytest.fixture(scope="module")
def found():
    return exact_spectrum.exact_spectra(RUN, [0, 1], 20)


def test_vectors_belong_to_the_eigenvalues_and_the_parts_add_up(found):
    one, other = found
    assert one["loss"] != other["loss"]
    assert np.all(np.diff(one["H"]) <= 0)
    for rank in (0, 3, -1):
        v = one["vectors"][rank]
        np.testing.assert_allclose(one["point"].hessian(v), one["H"][rank] * v, atol=1e-10 * one["H"][0])
    assert one["H"].sum() == pytest.approx(one["G"].sum() + one["R"].sum())
    assert one["G"].min() > -1e-10 * one["G"].max()
    assert one["gradient"] == pytest.approx(np.linalg.norm(one["point"].gradient))


def test_the_table_of_eigenvectors_says_what_each_is_made_of(found):
    one = found[0]
    every = exact_spectrum.eigenvector_table(one, len(one["H"]))
    assert every.class_means.sum() == pytest.approx(4)  # the span of four class means
    few = exact_spectrum.eigenvector_table(one, 3)
    assert few["rank"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(few.class_means, every.class_means[:3], atol=1e-9)
    v = one["vectors"][1]
    assert few.gauss_newton[1] == pytest.approx(v @ one["point"].gauss_newton(v) / one["H"][1])
