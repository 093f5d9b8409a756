"""Mixing by layers of the ansatz, against random layers gate by gate, and the Lie algebra that its gates generate."""

from functools import reduce

import numpy as np
import oracle
import pytest

from patchscape.circuit import mixing
from patchscape.circuit.ansatz import cz_ring, gates
from patchscape.config import ModelConfig

PAULIS = [np.eye(2), oracle.PAULI["Z"], oracle.PAULI["X"], oracle.PAULI["Y"]]


def _strings(q: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the strings of odd weight, and their matrices."""
    digits = np.arange(4**q)[:, None] // 4 ** np.arange(q)[::-1] % 4
    odd = np.flatnonzero(np.count_nonzero(digits, axis=1) % 2)
    return odd, np.stack([reduce(np.kron, [PAULIS[d] for d in digits[i]]) for i in odd])


@pytest.fixture(scope="module")
def random_layers():
    """Coefficients (S, 120, 120) of odd strings, columns, after random layers of four wires."""
    rng, draws = np.random.default_rng(0), 1500
    cfg = ModelConfig(n_patches=1, depth=2, n_qubits=4, image_side=4, n_classes=2)
    layer = gates(cfg)[:12]
    odd, matrices = _strings(4)
    flat = matrices.reshape(len(odd), -1)
    found = np.empty((draws, len(odd), len(odd)))
    for i in range(draws):
        u = oracle.unitary(4, layer, rng.uniform(0, np.pi, 8))  # the author's draw; the moments are the circle's
        found[i] = (flat.conj() @ (u @ matrices @ u.conj().T).reshape(len(odd), -1).T).real / 16
    return odd, found


@pytest.mark.slow
def test_a_layer_is_the_markov_chain_of_random_layers(random_layers):
    odd, found = random_layers
    whole = np.zeros((256, len(odd)))
    whole[odd, np.arange(len(odd))] = 1
    chain = mixing.layer(4, whole)
    np.testing.assert_allclose(chain.sum(0), 1)
    assert not np.delete(chain, odd, axis=0).any()
    chain, squares = chain[odd], np.square(found)
    error = squares.std(0) / np.sqrt(len(found))
    assert np.all(np.abs(squares.mean(0) - chain) < 5.5 * error + 1e-12)  # of 14,400
    assert np.abs(squares.mean(0) - chain.T).max() > 0.1  # the check can fail


@pytest.mark.slow
def test_products_of_different_coefficients_have_mean_zero(random_layers):
    _, found = random_layers
    start = found[:, :, 3]
    products = np.einsum("si,sj->sij", start, start)
    error = products.std(0) / np.sqrt(len(found))
    away = ~np.eye(found.shape[1], dtype=bool)
    assert np.all(np.abs(products.mean(0)) < 5.5 * error + 1e-12, where=away)


@pytest.mark.slow
def test_the_second_eigenvalue_is_that_of_the_dense_chain(random_layers):
    odd, found = random_layers
    for q, numbers in ((4, odd), (6, _strings_numbers(6))):
        whole = np.zeros((4**q, len(numbers)))
        whole[numbers, np.arange(len(numbers))] = 1
        sizes = np.sort(np.abs(np.linalg.eigvals(mixing.layer(q, whole)[numbers])))
        assert sizes[-1] == pytest.approx(1)
        assert mixing.second_eigenvalue(q) == pytest.approx(sizes[-2], rel=1e-6)
    drawn = np.sort(np.abs(np.linalg.eigvals(np.square(found).mean(0))))
    assert mixing.second_eigenvalue(4) == pytest.approx(drawn[-2], rel=0.02)


def _strings_numbers(q: int) -> np.ndarray:
    digits = np.arange(4**q)[:, None] // 4 ** np.arange(q) % 4
    return np.flatnonzero(np.count_nonzero(digits, axis=1) % 2)


def test_two_layers_do_not_mix_eight_wires_and_eighteen_do():
    """Chapter 3."""
    found = mixing.distances(8, 18)
    assert found[1] > 0.99
    assert 0.2 < found[5] < 0.5
    assert found[17] < 1e-3
    assert np.all(np.diff(found) <= 0)
    assert found[17] / found[16] == pytest.approx(mixing.second_eigenvalue(8), rel=0.05)


def _product(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int] | None:
    """Commutator of two strings, each the bits of its X's and of its Z's, up to a factor; None if it is zero."""
    crossed = (a[0] & b[1]).bit_count() + (a[1] & b[0]).bit_count()
    return (a[0] ^ b[0], a[1] ^ b[1]) if crossed % 2 else None


def _around_the_ring(q: int, string: tuple[int, int]) -> tuple[int, int]:
    x, z = string
    for gate in cz_ring(q):
        for here, there in (gate.wires, gate.wires[::-1]):
            z ^= (x >> there & 1) << here
    return x, z


@pytest.mark.parametrize("q", [2, 4, 6, 8])
def test_the_rotations_and_the_ring_generate_every_string_of_odd_weight_and_no_other(q):
    """Nested commutators of generators with a generator span the algebra, and those of strings are strings."""
    generators = {(1 << w, z << w) for w in range(q) for z in (0, 1)}  # X and Y on every wire
    generators |= {_around_the_ring(q, string) for string in generators}
    found, new = set(generators), list(generators)
    while new:
        string = new.pop()
        for generator in generators:
            product = _product(generator, string)
            if product is not None and product not in found:
                found.add(product)
                new.append(product)
    odd = {(x, z) for x in range(2**q) for z in range(2**q) if (x | z).bit_count() % 2}
    assert found == odd
    assert len(odd) == (4**q - (-2) ** q) // 2 == {2: 6, 4: 120, 6: 2016, 8: 32640}[q]


def test_the_ring_carries_strings_as_the_commutators_assume():
    ring = np.prod([np.diag(oracle.terms(4, gate)[0]) for gate in cz_ring(4)], axis=0)
    assert _around_the_ring(4, (1 << 2, 0)) == (1 << 2, 1 << 1 | 1 << 3)
    x = oracle.on_wires(4, {2: oracle.PAULI["X"]})
    carried = oracle.on_wires(4, {1: oracle.PAULI["Z"], 2: oracle.PAULI["X"], 3: oracle.PAULI["Z"]})
    np.testing.assert_allclose(ring[:, None] * x * ring, carried, atol=1e-12)
