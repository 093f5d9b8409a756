"""What is measured at a point, against the dense Hessian of a small model in float64."""

import jax
import numpy as np
import pytest

from patchscape import law
from patchscape.config import ModelConfig
from patchscape.curvature import exact, full_data, measures
from patchscape.learning import model
from patchscape.numerics import spectra
from patchscape.store.columns import LEADING, TOP

CFG = ModelConfig(n_patches=4, depth=1, n_qubits=4, image_side=6, n_classes=4, scale=20.0)
RNG = np.random.default_rng(0)
ANGLES = RNG.uniform(0, np.pi / 4, (24, 6, 6))
LABELS = RNG.integers(0, 4, 24).astype(np.int32)


@pytest.fixture(scope="module", params=[True, False], ids=["bias", "no bias"])
def case(request):
    """A point of a small model and its exact Hessian, rows in the order of `cfg.layout`."""
    with jax.enable_x64(True):
        cfg = CFG.model_copy(update={"shared_bias": request.param})
        params = jax.tree.map(lambda a: np.asarray(a, np.float64), model.init(cfg, 3))
        loss = full_data.FullDataLoss(cfg, ANGLES, LABELS, chunk=7)
        point = loss.at(model.flatten(params))
        parts = exact.decompose(cfg, params, ANGLES, LABELS)
        g = parts.root.T @ parts.root
        yield cfg, loss, point, params, g, parts.residual, parts.logit_gradients


def test_every_product_is_that_of_the_dense_matrix(case, x64):
    cfg, loss, point, _, g, r, _ = case
    v = np.random.default_rng(1).standard_normal(loss.size)
    blocks = np.zeros_like(g)
    for own in cfg.layout.circuits:
        blocks[own, own] = g[own, own]
    for product, matrix in (
        (point.hessian, g + r),
        (point.gauss_newton, g),
        (point.residual, r),
        (point.gauss_newton_per_patch, blocks),
    ):
        np.testing.assert_allclose(product(v), matrix @ v, atol=1e-10 * np.abs(matrix @ v).max())


def test_the_rows_of_the_root_add_up_to_the_trace_and_random_signs_estimate_it(case, x64):
    cfg, loss, _, params, g, _, _ = case
    flat = model.flatten(params)
    rows = np.eye(len(LABELS) * cfg.n_classes).reshape(-1, len(LABELS), cfg.n_classes)
    squares = np.sum([np.square(loss.root_transpose(flat, row)) for row in rows], axis=0)
    np.testing.assert_allclose(squares, np.diag(g), rtol=1e-9, atol=1e-12)
    phi = cfg.layout.phi
    found = measures.traces(loss, flat, probes=100)
    error = found["gauss_newton_trace_phi_error"]
    assert 0 < error < 0.2 * found["gauss_newton_trace_phi"]
    assert abs(found["gauss_newton_trace_phi"] - np.trace(g[phi, phi])) < 4 * error
    parts = exact.decompose(cfg, params, ANGLES, LABELS, norms=False)
    np.testing.assert_allclose(loss.probabilities(flat), parts.probabilities, rtol=1e-9)
    expected = measures.expected(cfg, params, ANGLES, parts.probabilities)
    assert expected["impurity"] == pytest.approx(law.impurity(parts.probabilities).mean())
    assert expected["expected_phi"].shape == expected["expected_all"].shape == (TOP,)


def test_class_means_are_the_means_of_the_own_logits_gradients(case, x64):
    _, _, point, _, _, _, jacobian = case
    own = jacobian[np.arange(len(LABELS)), LABELS]
    np.testing.assert_allclose(point.class_means(), [own[c == LABELS].mean(0) for c in range(4)], atol=1e-12)


def test_class_means_are_those_of_the_classes_that_have_images(case, x64):
    cfg, _, _, params, _, _, jacobian = case
    few = LABELS % 2  # two of four classes
    own = jacobian[np.arange(len(few)), few]
    parts = exact.decompose(cfg, params, ANGLES, few, norms=False)
    for point in (
        exact.point(cfg, parts, few),
        full_data.FullDataLoss(cfg, ANGLES, few, chunk=7).at(model.flatten(params)),
    ):
        np.testing.assert_allclose(point.class_means(), [own[c == few].mean(0) for c in range(2)], atol=1e-12)


def test_measured_columns_agree_with_the_dense_matrix(case, x64):
    cfg, _, point, _, g, r, jacobian = case
    bias, phi, own = cfg.layout
    values = np.linalg.eigvalsh(g + r)
    columns, found = measures.spectrum(cfg, point.gradient, point.hessian)
    columns |= measures.gauss_newton(point) | measures.without_bias(cfg, point)
    columns |= measures.blocks(cfg, point, columns, found) | measures.overlaps(point, columns, found)
    top = values[::-1][:LEADING]
    np.testing.assert_allclose(columns["eigenvalues"][:LEADING], top, atol=2e-3 * top[0])
    assert columns["lambda_min"] == pytest.approx(values[0], abs=2e-3 * top[0])
    assert columns["gauss_newton"] == pytest.approx(np.linalg.eigvalsh(g)[-1], rel=1e-4)
    assert columns["lambda_max_phi"] == pytest.approx(np.linalg.eigvalsh((g + r)[phi, phi])[-1], rel=1e-4)
    if cfg.shared_bias:
        assert columns["gauss_newton_bias"] == pytest.approx(np.linalg.eigvalsh(g[bias, bias])[-1], rel=1e-4)
    for name, matrix in (("gauss_newton_blocks", g), ("residual_blocks", r)):
        exact = [np.linalg.eigvalsh(matrix[s, s])[-1] for s in own]
        np.testing.assert_allclose(columns[name], exact, rtol=3e-2)
        allowed = [measures.TOLERANCE_BLOCKS * np.linalg.norm(matrix[s, s], 2) for s in own]
        assert np.all(columns[f"{name}_residual"] <= allowed)
    norms = [[np.linalg.norm((g + r)[a, b], 2) for b in own] for a in own]
    assert np.all(np.abs(columns["block_norms"] - norms) <= columns["block_norms_error"] * 1.01)
    np.testing.assert_allclose(columns["vector_shares"][: len(found)].sum(1), 1, atol=1e-9)
    v = found[0]
    assert columns["gauss_newton_share"][0] == pytest.approx(v @ g @ v / top[0], rel=1e-3)
    means = np.stack([jacobian[np.arange(len(LABELS)), LABELS][c == LABELS].mean(0) for c in range(4)])
    inside = np.linalg.lstsq(means.T, v, rcond=None)[0] @ means
    assert columns["class_mean_overlap"][0] == pytest.approx(inside @ inside, rel=1e-6)
    assert columns["gradient_norm"] == pytest.approx(np.linalg.norm(point.gradient))


def test_the_residual_of_the_largest_eigenvalue_holds_the_rounding_of_the_products():
    cfg = ModelConfig(n_patches=1, depth=1, n_qubits=4, image_side=6, n_classes=4, shared_bias=False)
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((cfg.n_params, cfg.n_params)))[0]
    matrix = ((basis * np.linspace(-1, 9, cfg.n_params)) @ basis.T).astype(np.float32)

    def product(v):
        return np.asarray(matrix @ v.astype(np.float32), np.float64)

    columns, vectors = measures.spectrum(cfg, np.ones(cfg.n_params), product)
    left = product(vectors[0]) - columns["lambda_max"] * vectors[0]
    assert columns["lambda_max_residual"] == pytest.approx(np.linalg.norm(left), rel=1e-6)
    assert 1e-9 < columns["lambda_max_residual"] / columns["lambda_max"] < 1e-5  # single precision


def test_products_agree_with_those_of_the_matrices_without_automatic_differentiation(case, x64):
    cfg, loss, point, params, *_ = case
    dense = exact.point(cfg, exact.decompose(cfg, params, ANGLES, LABELS, norms=False), LABELS)
    v = np.random.default_rng(2).standard_normal(loss.size)
    np.testing.assert_allclose(dense.gradient, point.gradient, atol=1e-12)
    for name in ("hessian", "gauss_newton", "residual", "gauss_newton_per_patch"):
        np.testing.assert_allclose(getattr(dense, name)(v), getattr(point, name)(v), atol=1e-11)
    np.testing.assert_allclose(dense.class_means(), point.class_means(), atol=1e-12)


def test_refining_lowers_the_gradient_and_never_returns_a_worse_point(case, x64):
    _, loss, point, params, *_ = case
    before = np.linalg.norm(point.gradient)
    refined, how = measures.refine(loss, model.flatten(params), before)
    assert np.linalg.norm(loss.gradient(refined)) == pytest.approx(before / how["refine_fall"])
    assert how["refine_fall"] > 1
    assert how["refine_steps"] <= measures.REFINE_STEPS


def test_lanczos_finds_both_ends_of_every_block_of_a_known_matrix():
    rng = np.random.default_rng(0)
    matrices = [np.diag(d) for d in (np.linspace(-1, 5, 40), np.r_[9.0, 9.0, np.zeros(38)], np.zeros(40))]
    turn, _ = np.linalg.qr(rng.standard_normal((40, 40)))
    matrices = [turn @ a @ turn.T for a in matrices]

    def matvec(v):
        return np.concatenate([a @ x for a, x in zip(matrices, v.reshape(3, 40), strict=True)])

    found = spectra.lanczos(matvec, 40, n_blocks=3, seed=0, max_steps=40, top=3, bottom=1, tol=1e-9)
    np.testing.assert_allclose(found.values[0, :3], [5, 5 - 6 / 39, 5 - 12 / 39], atol=1e-8)
    assert found.values[0, -1] == pytest.approx(-1, abs=1e-8)
    # the space of one start vector holds one copy of a repeated eigenvalue; a fresh direction finds the other
    np.testing.assert_allclose(found.values[1, :2], [9, 9], atol=1e-8)
    np.testing.assert_allclose(found.values[2], 0, atol=1e-8)
    for a, values, vectors, residuals in zip(matrices, found.values, found.vectors, found.residuals, strict=True):
        true = np.linalg.norm(vectors @ a - values[:, None] * vectors, axis=1)
        np.testing.assert_allclose(residuals, true, atol=1e-8)
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(vectors)), atol=1e-9)
    np.testing.assert_allclose(found.weights.sum(1), 1)


def test_the_ritz_weights_integrate_polynomials_of_the_spectrum_exactly():
    matrix = np.diag(np.linspace(0, 3, 30))
    found = spectra.lanczos(lambda v: matrix @ v, 30, seed=5, max_steps=6, top=1, tol=1e-12)
    start = np.random.default_rng(5).standard_normal((1, 30))
    start /= np.linalg.norm(start)
    for power in range(2 * found.n_matvecs - 1):
        moment = np.sum(start**2 * np.diag(matrix) ** power)
        assert found.weights[0] @ found.values[0] ** power == pytest.approx(moment, rel=1e-9)


def test_the_ritz_values_are_those_of_matfree():
    import jax.numpy as jnp
    from matfree import decomp

    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((60, 60))
    matrix = matrix + matrix.T
    start = np.random.default_rng(4).standard_normal(60)
    with jax.enable_x64(True):
        tridiagonal = decomp.tridiag_sym(15, reortho="full")
        found = tridiagonal(lambda v: jnp.asarray(matrix) @ v, jnp.asarray(start / np.linalg.norm(start)))
        diagonal = np.asarray(found.J_small)
    ours = spectra.lanczos(lambda v: matrix @ v, 60, seed=4, max_steps=15, tol=1e-14)
    np.testing.assert_allclose(ours.values[0][::-1], np.linalg.eigvalsh(diagonal), atol=1e-10)


@pytest.mark.parametrize("spread", [1.0, 1e6], ids=["even", "a top that converges early"])
def test_a_quadrature_rule_uses_all_its_products_and_has_the_moments_of_its_start(spread):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((50, 50)))[0]
    values = np.r_[spread, rng.uniform(-1, 1, 49)]
    matrix = (basis * values) @ basis.T
    nodes, weights = spectra.quadrature(lambda v: matrix @ v, 50, steps=20, starts=200)
    assert nodes.shape == weights.shape == (200, 20)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-12)
    start = np.random.default_rng(3).standard_normal(50)  # as `lanczos` draws it
    start /= np.linalg.norm(start)
    image = start
    for power in range(1, 6):
        image = matrix @ image
        assert np.sum(weights[3] * nodes[3] ** power) == pytest.approx(start @ image, rel=1e-9)
    traces = 50 * np.sum(weights * nodes, 1)
    assert abs(traces.mean() - values.sum()) < 4 * traces.std(ddof=1) / np.sqrt(200)
    with pytest.raises(ValueError, match="steps=51: choose from 1 to the size of the matrix, 50"):
        spectra.quadrature(lambda v: v, 50, steps=51, starts=1)


@pytest.mark.slow
def test_copies_of_one_circuit_on_one_window_have_exactly_one_nth_of_its_curvature(x64):
    one = ModelConfig(n_patches=1, depth=1, n_qubits=4, image_side=6, n_classes=4, scale=20.0, stride=0)
    start = jax.tree.map(lambda a: np.asarray(a, np.float64), model.init(one, 0))
    found = {}
    for n in (1, 9):
        cfg = one.model_copy(update={"n_patches": n})
        point = full_data.FullDataLoss(cfg, ANGLES, LABELS).at(
            model.flatten(start | {"phi": np.tile(start["phi"], (n, 1))})
        )
        found[n] = measures.without_bias(cfg, point)
    assert 9 * found[9]["lambda_max_phi"] == pytest.approx(found[1]["lambda_max_phi"], rel=1e-5)
    assert found[9]["gauss_newton_bias"] == pytest.approx(found[1]["gauss_newton_bias"], rel=1e-5)


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="choose size, max_steps and n_blocks from 1"):
        spectra.lanczos(lambda v: v, 3, seed=0, max_steps=5, top=4)
