"""Estimates E1 and E2 against random matrices, random circuits and dense matrices."""

from functools import reduce

import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from scipy import stats
from scipy.special import softmax

from patchscape import law
from patchscape.circuit.ansatz import Gate, gates, observables
from patchscape.config import ModelConfig
from patchscape.curvature import bounds, estimates, exact
from patchscape.learning import model

X, Y, Z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1.0, -1.0])


def _reachable(count: int, rng: np.random.Generator) -> np.ndarray:
    """Random matrices (count, 16, 16) that four wires of the ansatz can reach: real where T = Y^4 K is."""
    flip = reduce(np.kron, [Y] * 4).real
    sign, vectors = np.linalg.eigh(flip)
    basis = vectors * np.where(sign > 0, 1, 1j)
    return basis @ stats.ortho_group.rvs(16, size=count, random_state=rng) @ basis.conj().T


def test_the_typical_square_is_that_of_the_matrices_that_the_ansatz_can_reach():
    rng, draws = np.random.default_rng(0), 60_000
    generator, observable = np.kron(X, np.eye(8)), np.kron(np.eye(4), np.kron(Z, np.eye(2)))
    before, after = _reachable(draws, rng), _reachable(draws, rng)
    psi = before[:, :, 0]
    carried = after.conj().swapaxes(1, 2) @ observable @ after
    # d/dt <exp(i t P / 2) O exp(-i t P / 2)> = Im <psi| O P |psi>
    squares = np.square(np.einsum("si,sij,sj->s", psi.conj(), carried, psi @ generator.T).imag)
    error = squares.std() / np.sqrt(draws)
    assert abs(squares.mean() - law.typical_square(4)) < 4 * error
    assert abs(squares.mean() - 16**2 / (2 * 17**2 * 15)) > 4 * error  # the check can tell it from all unitary matrices
    assert law.typical_square(8) == pytest.approx(2**-9, rel=5e-3)


def test_a_block_of_the_ansatz_is_of_that_kind():
    angles = np.random.default_rng(0).uniform(0, np.pi, 3 * 2 * 4)
    cfg = ModelConfig(n_patches=1, depth=3, n_qubits=4, image_side=4, n_classes=2)
    block = oracle.unitary(4, gates(cfg)[: 3 * 4 * 3], angles)
    flip = reduce(np.kron, [Y] * 4).real
    np.testing.assert_allclose(flip @ block.conj() @ flip, block, atol=1e-12)
    assert np.abs(block.imag).max() > 0.1


def test_the_gauss_newton_trace_of_deep_untrained_circuits_is_about_as_large_as_expected():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.uniform(0, 3, (20, 8, 8)), jnp.float32), jnp.asarray(rng.integers(0, 8, 20))
    ratios = []
    for seed in range(4):
        cfg = ModelConfig(n_patches=1, depth=6, n_qubits=4, image_side=8, n_classes=8, scale=10.0)
        t = bounds.evaluate(cfg, model.init(cfg, seed), *images)
        ratios.append(t.gauss_newton_trace / t.typical_trace)
    assert 0.8 < np.mean(ratios) < 1.1


def _derivatives(cfg: ModelConfig, phi: np.ndarray, image: np.ndarray, blocks: np.ndarray) -> dict[str, np.ndarray]:
    """Derivatives (S, K, angles) by kind of angle, gate by gate, with given matrices (6, S, 16, 16) for blocks.

    Two of them are one block, with the angle of a block between them.
    """
    q, sequence = cfg.n_qubits, gates(cfg)
    after_block, length = (2 * q + q) * cfg.depth, 3 * q * q // 2 + q
    angle = Gate("RX", (1,), "block")
    order = [blocks[0], angle, blocks[1]]
    for start, pair in ((after_block, blocks[2:4]), (2 * after_block + length, blocks[4:])):
        order += [*sequence[start : start + length], pair[0], angle, pair[1]]

    def matrix(step):
        if not isinstance(step, Gate):
            return step
        values = {"pixel": image, "parameter": phi}.get(step.source)
        return oracle.unitary(q, [step._replace(index=0)], np.zeros(1) if values is None else values[[step.index]])

    measured = [oracle.on_wires(q, {wire: oracle.PAULI[axis]}) for axis, wire in observables(cfg)]
    states = [np.eye(2**q)[np.zeros(blocks.shape[1], int), :, None].astype(complex)]
    for step in order:
        states.append(matrix(step) @ states[-1])
    back = np.concatenate([o @ states[-1] for o in measured], 2)  # observables on the final state, carried back
    found = {"block": [], "parameter": [], "pixel": []}
    for step, state in zip(reversed(order), reversed(states[1:]), strict=True):
        if isinstance(step, Gate) and step.source:
            generator = oracle.on_wires(q, {step.wires[0]: oracle.PAULI[step.name[1]]})
            # d/dt <exp(i t P / 2) O exp(-i t P / 2)> = Im <psi| O P |psi>
            found[step.source].append((back.conj() * (generator @ state)).sum(1).imag)
        back = matrix(step).conj().swapaxes(-1, -2) @ back
    return {kind: np.stack(values, -1) for kind, values in found.items()}


def test_similarity_is_the_correlation_of_derivatives_between_random_blocks():
    """All blocks drawn: angles of blocks, angles of both encodings, and pixels, each kind apart."""
    rng, draws = np.random.default_rng(0), 6000
    cfg = ModelConfig(n_patches=1, depth=1, n_qubits=4, image_side=4, n_classes=8, shared_bias=False)
    phi = rng.uniform(0, np.pi, cfg.n_params_per_qnn)
    one, other = rng.uniform(0, 1.5, (2, 16))
    images = np.stack([one, other, one + 2 * np.eye(16)[0], one + 2 * np.eye(16)[9]])  # two differ in one pixel only
    blocks = _reachable(6 * draws, rng).reshape(6, draws, 16, 16)
    slopes = [_derivatives(cfg, phi, image, blocks) for image in images]
    found, q, m = estimates.similarity(cfg, phi, images), 4, cfg.n_params_per_qnn
    in_encodings = (m * found.angles - (m - 2 * q * q) * found.blocks) / (2 * q * q)
    expected = {"block": found.blocks, "parameter": in_encodings, "pixel": found.pixels}
    far = dict.fromkeys(expected, 0.0)
    for i, j in ((0, 1), (0, 2), (0, 3)):  # the last two: each encoding alone
        for kind, alike in expected.items():
            products = (slopes[i][kind] * slopes[j][kind]).mean((1, 2)) / law.typical_square(q)
            error = products.std() / np.sqrt(draws)
            assert abs(products.mean() - alike[i, j]) < 4 * error, (kind, i, j)
            far[kind] = max(far[kind], abs(products.mean() - found.blocks[i, j]) / error)
    assert min(far["parameter"], far["pixel"]) > 5, far  # the check can tell the kinds apart


def _problem(n_patches: int, depth: int = 6, count: int = 12):
    cfg = ModelConfig(
        n_patches=n_patches, depth=depth, n_qubits=4, image_side=8, n_classes=8, scale=10.0, shared_bias=False
    )
    smooth = np.random.default_rng(3).uniform(0, np.pi / 2, (count, 2, 2)).repeat(4, 1).repeat(4, 2)
    return cfg, smooth, np.arange(count) % 8


def test_the_kernel_of_deep_random_circuits_is_the_expected_one():
    cfg, images, labels = _problem(1)
    patch = np.asarray(model.cut_patches(cfg, images))[0]
    kernel, expected, seeds = 0.0, 0.0, range(24)
    for seed in seeds:
        params = model.init(cfg, seed)
        jacobian = exact.decompose(cfg, params, images, labels, norms=False).logit_gradients
        kernel += np.einsum("ikm,jkm->ij", jacobian, jacobian) / len(seeds)
        expected += estimates.similarity(cfg, params["phi"][0], patch).angles / len(seeds)
    kernel /= cfg.n_classes * cfg.n_params_per_qnn * cfg.factor**2 * law.typical_square(4)
    assert expected.min() < 0.5  # the images differ enough to ask
    assert np.abs(kernel - expected).mean() < 0.05
    assert np.abs(kernel - 1).mean() > 0.3  # what "all images alike" would be


def test_the_spectrum_is_that_of_the_dense_matrix_and_adds_up_to_the_trace():
    cfg, images, _ = _problem(4, count=7)
    params = model.init(cfg, 0)
    pi = softmax(np.random.default_rng(0).normal(0, 2, (7, 8)), axis=1)
    patches = np.asarray(model.cut_patches(cfg, images))
    kernel = sum(estimates.similarity(cfg, *pair).angles for pair in zip(params["phi"], patches, strict=True))
    root = [np.diag(np.sqrt(p)) - np.outer(np.sqrt(p), p) for p in pi]
    dense = np.block([[kernel[i, j] * root[i] @ root[j].T for j in range(7)] for i in range(7)])
    dense *= cfg.factor**2 * cfg.n_params_per_qnn * law.typical_square(4) / 7
    found = estimates.spectrum(cfg, params, images, pi, top=55)
    np.testing.assert_allclose(found.phi, np.linalg.eigvalsh(dense)[:0:-1], rtol=1e-9, atol=1e-12)
    typical = cfg.n_patches * cfg.n_params_per_qnn * cfg.factor**2 * law.typical_square(4)
    assert found.phi.sum() == pytest.approx(typical * law.impurity(pi).mean())
    assert found.kept == 1
    few = estimates.spectrum(cfg, params, images, pi, top=10, images=4)
    assert 4 / 7 < few.kept < 1
    assert np.all(few.phi <= found.phi[:10])


def test_a_shared_pixel_counts_as_one_more_angle_in_the_trace_on_all_parameters():
    cfg, images, _ = _problem(4, count=7)
    cfg = cfg.model_copy(update={"shared_bias": True})
    pi = np.random.default_rng(0).dirichlet(np.ones(cfg.n_classes), len(images))
    whole = len(images) * cfg.n_classes - 1  # the least one is zero: the rows of a softmax add up to nothing
    found = estimates.spectrum(cfg, model.init(cfg, 0), images, pi, top=whole)
    trace = law.trace(law.impurity(pi).mean(), 4, cfg.factor, cfg.n_params_per_qnn, cfg.n_qubits)
    assert found.phi.sum() == pytest.approx(trace)
    assert found.every.sum() == pytest.approx(trace * law.with_pixels(cfg.n_qubits, cfg.n_params_per_qnn, True))


def test_a_model_that_is_sure_of_every_image_has_no_curvature():
    cfg, images, labels = _problem(4)
    found = estimates.spectrum(cfg, model.init(cfg, 0), images, np.eye(8)[labels], top=3)
    np.testing.assert_array_equal(found.phi, 0)


def test_similarities_are_kernels():
    cfg, _, _ = _problem(1)
    patches = np.random.default_rng(0).uniform(0, np.pi, (30, 16))
    for found in estimates.similarity(cfg, model.init(cfg, 0)["phi"][0], patches):
        np.testing.assert_allclose(np.diag(found), 1)
        assert np.linalg.eigvalsh(found)[0] > -1e-12
        assert np.all(np.abs(found) <= 1 + 1e-12)


@pytest.mark.slow
def test_the_largest_eigenvalue_of_deep_random_circuits_is_about_the_expected_one():
    cfg, images, labels = _problem(4)
    terms = [bounds.evaluate(cfg, model.init(cfg, seed), images, labels) for seed in range(4)]
    assert 0.8 < np.mean([t.gauss_newton / t.expected_lambda_max for t in terms]) < 1.25


def test_the_mean_largest_eigenvalue_of_independent_sums_lies_between_its_bounds():
    rng, size = np.random.default_rng(0), 12
    for count in (4, 16, 200):
        vectors = rng.normal(size=(2000, count, size)) * np.geomspace(1, 0.1, size)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), 1)  # no matrix v v^T exceeds 1
        sums = np.einsum("ski,skj->sij", vectors, vectors)
        mean = sums.mean(0)
        top, found = np.linalg.eigvalsh(mean)[-1], np.linalg.eigvalsh(sums)[:, -1].mean()
        upper = law.chernoff(top, 1.0, np.trace(mean) / top)
        assert top < found < upper
    assert upper < 1.3 * found  # many matrices leave little room
    columns = law.chernoff(np.array([2.0, 4.0]), np.array([1.0, 2.0]), np.array([3.0, 3.0]))
    np.testing.assert_allclose(columns, law.chernoff(2.0, 1.0, 3.0) * np.array([1, 2]))


def test_impurity_keeps_its_digits_where_the_model_is_sure():
    pi = np.array([[1e-12, 1 - 1e-12], [0.5, 0.5]])
    np.testing.assert_allclose(law.impurity(pi), [2e-12, 0.5], rtol=1e-9)


def test_a_wrong_number_is_named():
    cfg, images, _ = _problem(4)
    with pytest.raises(ValueError, match="12 images, but probabilities for 3"):
        estimates.spectrum(cfg, model.init(cfg, 0), images, np.full((3, 8), 1 / 8))
    with pytest.raises(ValueError, match="choose 1 to 95"):
        estimates.spectrum(cfg, model.init(cfg, 0), images, np.full((12, 8), 1 / 8), top=96)


def test_the_coherence_that_e2_expects_is_one_for_circuits_and_patches_that_are_alike():
    cfg = ModelConfig(n_patches=4, depth=1, n_qubits=4, image_side=8, n_classes=4, shared_bias=False)
    rng = np.random.default_rng(0)
    phi = np.asarray(model.init(cfg, 0)["phi"])
    alike = {"phi": np.broadcast_to(phi[:1], phi.shape)}
    angles = np.broadcast_to(rng.uniform(0, np.pi, (6, 1, 1)), (6, 8, 8))
    assert estimates.coherence(cfg, alike, angles, rng.dirichlet(np.ones(4), 6)) == pytest.approx(1)


def test_the_coherence_that_e2_expects_compares_the_eigenvalues_of_single_circuits_with_that_of_all():
    cfg = ModelConfig(n_patches=4, depth=1, n_qubits=4, image_side=8, n_classes=4, shared_bias=False)
    params, rng = model.init(cfg, 0), np.random.default_rng(1)
    angles, probabilities = rng.uniform(0, np.pi, (5, 8, 8)), rng.dirichlet(np.ones(4), 5)
    root = np.sqrt(probabilities)
    s = np.einsum("ij,jk->ijk", root, np.eye(4)) - root[:, :, None] * probabilities[:, None, :]
    dense = [
        np.einsum("ij,iac,jbc->iajb", alike.angles, s, s).reshape(20, 20)
        for alike in estimates.similarities(cfg, params, angles)
    ]
    expected = np.linalg.norm(sum(dense), 2) / sum(np.linalg.norm(matrix, 2) for matrix in dense)
    assert estimates.coherence(cfg, params, angles, probabilities) == pytest.approx(expected)
