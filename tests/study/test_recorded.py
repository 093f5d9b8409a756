"""Products that are kept: an iteration goes on where it was stopped, and ends with the same numbers."""

import numpy as np
import pytest

from patchscape.numerics import spectra
from patchscape.study.recorded import recorded

MATRIX = np.diag(np.arange(1.0, 31)) + 0.1


def counting(most=np.inf):
    calls = []

    def product(v):
        if len(calls) >= most:
            raise KeyboardInterrupt
        calls.append(1)
        return MATRIX @ v

    return product, calls


def run(product):
    return spectra.lanczos(product, len(MATRIX), seed=0, max_steps=12, top=12)


def test_a_stopped_iteration_computes_no_product_twice(tmp_path):
    path, whole = tmp_path / "products.safetensors", run(recorded(counting()[0], tmp_path / "other.safetensors", "M"))
    with pytest.raises(KeyboardInterrupt):
        run(recorded(counting(most=7)[0], path, "M"))
    product, calls = counting()
    again = run(recorded(product, path, "M"))
    assert len(calls) == 5
    np.testing.assert_array_equal(again.values, whole.values)
    np.testing.assert_allclose(again.values, run(counting()[0]).values, rtol=1e-5)


def test_products_of_another_matrix_are_not_used(tmp_path):
    path = tmp_path / "products.safetensors"
    run(recorded(counting()[0], path, "M"))
    product, calls = counting()
    run(recorded(product, path, "another"))
    assert len(calls) == 12


def test_products_of_other_vectors_are_refused(tmp_path):
    path = tmp_path / "products.safetensors"
    recorded(lambda v: v, path, "M")(np.eye(30)[0])
    with pytest.raises(ValueError, match="products of other vectors: delete it"):
        recorded(lambda v: v, path, "M")(np.eye(30)[1])
