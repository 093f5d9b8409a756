"""The model against the author's numbers, and what every configuration must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from beartype import beartype
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Scalar, jaxtyped

from patchscape.config import ModelConfig
from patchscape.learning import data, model

SMALL = ModelConfig(n_patches=4, depth=1, n_qubits=4, image_side=6, n_classes=4)


def draw(cfg, n=6, seed=0):
    """Parameters with a bias that is not zero, angles and labels."""
    random = np.random.default_rng(seed)
    params = model.init(cfg, seed)
    side = cfg.image_side
    if cfg.shared_bias:
        params["bias"] = jnp.asarray(random.normal(size=(side, side)) * 0.3, jnp.float32)
    angles = random.uniform(0, 2 * np.pi / cfg.n_qubits, (n, side, side)).astype(np.float32)
    return params, jnp.asarray(angles), jnp.asarray(np.arange(n) % cfg.n_classes, jnp.int32)


@pytest.fixture(scope="module")
def logits():
    return lambda cfg, params, angles: jax.jit(lambda p, x: model.logits(cfg, p, x))(params, angles)


def relative(ours, expected):
    return np.linalg.norm(np.asarray(ours) - expected) / np.linalg.norm(expected)


@pytest.mark.slow
@pytest.mark.parametrize(("n_patches", "depth"), [(4, 1), (4, 3), (9, 2), (16, 2)])
def test_logits_gradients_and_hessian_vector_products_are_the_authors(author, n_patches, depth):
    golden = author[f"n{n_patches}_d{depth}"]
    cfg = ModelConfig(n_patches=n_patches, depth=depth)
    angles, labels = jnp.asarray(golden["angles"]), jnp.asarray(golden["labels"].astype(np.int32))
    params, v = ({key: jnp.asarray(golden[prefix + key]) for key in ("phi", "bias")} for prefix in ("", "v_"))

    def f(params):
        z = model.logits(cfg, params, angles)
        return model.cross_entropy(z, labels), z

    def everything(params, v):
        ((loss, z), gradient), (_, product) = jax.jvp(jax.value_and_grad(f, has_aux=True), (params,), (v,))
        return loss, z, gradient, product

    loss, z, gradient, product = jax.jit(everything)(params, v)
    assert z.shape == (16, 10)
    assert z.dtype == jnp.float32
    np.testing.assert_allclose(z, golden["logits"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-5)
    for key in ("phi", "bias"):
        assert relative(gradient[key], golden[f"grad_{key}"]) < 1e-4
        assert relative(product[key], golden[f"hvp_{key}"]) < 1e-4


@pytest.mark.parametrize("seed", [0, 1001, 2**32 - 1])
def test_the_initial_parameters_are_the_authors_draw(seed):
    cfg = ModelConfig(n_patches=9, depth=2)
    raw = np.random.RandomState(seed).randint(0, 2**32, 9 * 224, dtype=np.uint64) & 0xFFFFFF
    u = raw.astype(np.float32) / 2**24
    params = model.init(cfg, seed)
    assert params.keys() == {"phi", "bias"}
    assert params["phi"].dtype == params["bias"].dtype == jnp.float32
    np.testing.assert_array_equal(params["phi"], u.reshape(9, -1) * np.float32(np.pi))
    np.testing.assert_array_equal(params["bias"], np.zeros((14, 14)))


def test_the_initial_parameters_fill_zero_to_pi_and_differ_between_seeds():
    a, b = (np.asarray(model.init(ModelConfig(), seed)["phi"]) for seed in (1, 2))
    assert a.min() >= 0
    assert a.max() < np.pi
    assert abs(a.mean() - np.pi / 2) < 0.05
    assert not np.array_equal(a, b)
    assert model.init(ModelConfig(), 1)["phi"].size == ModelConfig().n_params - 14 * 14


@pytest.mark.parametrize(
    "cfg", [SMALL, ModelConfig(n_patches=9), ModelConfig(n_patches=4, n_qubits=6, image_side=8, stride=1)]
)
def test_patches_are_windows_of_the_image_in_row_major_order(cfg):
    side, q = cfg.image_side, cfg.n_qubits
    image = np.arange(2.0 * side * side).reshape(2, side, side)
    patches = model.cut_patches(cfg, jnp.asarray(image))
    windows = [image[:, r : r + q, c : c + q].reshape(2, -1) for r in cfg.offsets for c in cfg.offsets]
    np.testing.assert_array_equal(patches, np.stack(windows))


@pytest.mark.parametrize("n_patches", [4, 9, 16, 49])
def test_the_papers_patches_cover_every_pixel_and_the_centre_most(n_patches):
    cfg = ModelConfig(n_patches=n_patches)
    coverage = np.bincount(model.patch_pixels(cfg).ravel(), minlength=14 * 14).reshape(14, 14)
    assert coverage.min() == 1
    assert coverage.max() == cfg.max_coverage == n_patches
    assert (coverage[6:8, 6:8] == n_patches).all()
    np.testing.assert_array_equal(coverage, coverage.T)


def test_sum_aggregation_is_mean_aggregation_times_the_number_of_patches(logits):
    params, angles, _ = draw(SMALL)
    total = logits(SMALL.model_copy(update={"aggregation": "sum"}), params, angles)
    np.testing.assert_allclose(total, 4 * logits(SMALL, params, angles), rtol=1e-5, atol=1e-4)


def test_logits_are_proportional_to_the_scale_and_bounded_by_it(logits):
    params, angles, _ = draw(SMALL)
    z, half = logits(SMALL, params, angles), logits(SMALL.model_copy(update={"scale": 50.0}), params, angles)
    np.testing.assert_allclose(half, z / 2, rtol=1e-5, atol=1e-4)
    assert 1 < np.abs(z).max() <= 100


def test_the_bias_is_added_to_every_image_and_can_be_left_out(logits):
    params, angles, _ = draw(SMALL)
    without = SMALL.model_copy(update={"shared_bias": False})
    phi = {"phi": params["phi"]}
    assert model.init(without, 0).keys() == {"phi"}
    z = logits(SMALL, params, angles)
    np.testing.assert_allclose(z, logits(without, phi, angles + params["bias"]), rtol=0, atol=1e-4)
    assert np.abs(z - logits(without, phi, angles)).max() > 0.1


def test_a_patch_repeated_gives_the_logits_of_one_patch(logits):
    one = ModelConfig(n_patches=1, depth=1, n_qubits=4, image_side=6, n_classes=4)
    four = one.model_copy(update={"n_patches": 4, "stride": 0})
    assert four.offsets == (1, 1)
    params, angles, _ = draw(one)
    copies = params | {"phi": jnp.repeat(params["phi"], 4, axis=0)}
    np.testing.assert_allclose(logits(four, copies, angles), logits(one, params, angles), rtol=0, atol=1e-4)


def test_each_patch_has_its_own_parameters_and_sees_its_own_pixels():
    params, angles, _ = draw(SMALL)
    f = jax.jit(lambda p, x: model.patch_expectations(SMALL, model.prepare(SMALL, p), x))
    before = f(params, angles)
    other = f(params | {"phi": params["phi"].at[2].add(0.3)}, angles)
    changed = np.abs(other - before).max((1, 2)) > 1e-3
    assert changed.tolist() == [False, False, True, False]
    moved = f(params, angles.at[:, 0, 5].add(0.3))  # the upper right corner lies in patch 1 alone
    assert (np.abs(moved - before).max((1, 2)) > 1e-4).tolist() == [False, True, False, False]


def test_the_logits_of_an_image_do_not_depend_on_the_others(logits):
    params, angles, _ = draw(SMALL)
    z = logits(SMALL, params, angles)
    np.testing.assert_allclose(logits(SMALL, params, angles[::-1]), z[::-1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(logits(SMALL, params, angles[3:4]), z[3:4], rtol=0, atol=1e-4)


@pytest.mark.parametrize("cfg", [SMALL, SMALL.model_copy(update={"shared_bias": False})], ids=["bias", "no bias"])
def test_a_flat_vector_has_the_order_of_the_layout_which_is_that_of_jax(cfg):
    params = {name: value + 0.5 for name, value in model.init(cfg, 1).items()}
    flat = model.flatten(params)
    np.testing.assert_array_equal(flat, ravel_pytree(params)[0])
    assert flat.shape == (cfg.n_params,)
    for circuit, phi in zip(cfg.layout.circuits, params["phi"], strict=True):
        np.testing.assert_array_equal(flat[circuit], phi)
    np.testing.assert_array_equal(flat[cfg.layout.phi], params["phi"].ravel())
    np.testing.assert_array_equal(flat[cfg.layout.bias], params["bias"].ravel() if cfg.shared_bias else [])
    again = model.unflatten(cfg, flat)
    assert again.keys() == params.keys()
    for name, value in params.items():
        np.testing.assert_array_equal(again[name], value)


def test_the_loss_is_that_of_the_logits(logits):
    params, angles, labels = draw(SMALL)
    z = np.asarray(logits(SMALL, params, angles), float)
    entropy = np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1) - z[np.arange(6), labels]
    loss = jax.jit(lambda p: model.loss(SMALL, p, angles, labels))(params)
    np.testing.assert_allclose(loss, entropy.mean(), rtol=1e-5)


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_number_of_classes():
    np.testing.assert_allclose(model.cross_entropy(jnp.zeros((5, 8)), jnp.arange(5)), np.log(8), rtol=1e-6)


@pytest.mark.parametrize("size", [1, 4, 10, 64])
def test_the_loss_of_a_data_set_does_not_depend_on_how_it_is_cut(size):
    params, angles, labels = draw(SMALL, n=10)
    chunks = tuple(map(jnp.asarray, data.chunks(np.asarray(angles), np.asarray(labels), size)))
    loss, accuracy = model.evaluate(SMALL, params, chunks)
    z = jax.jit(lambda p: model.logits(SMALL, p, angles))(params)
    expected = optax.softmax_cross_entropy_with_integer_labels(z, labels).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(accuracy, (z.argmax(1) == labels).mean(), rtol=1e-6)
    shared = jax.jit(lambda p: model.prepare(SMALL, p))(params)
    parts = jax.jit(lambda s: jax.lax.map(lambda c: model.chunk_loss(SMALL, s, c), chunks))(shared)
    np.testing.assert_allclose(parts.sum(), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(6, 6), (3, 6, 5), (3, 14, 14), (3, 6, 6, 1)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"^angles has shape .*; the model needs \(N, 6, 6\)\.$") as error:
        model.cut_patches(SMALL, jnp.zeros(shape))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"angles": (3, 8, 8)}, r"angles has shape \(3, 8, 8\); the model needs \(N, 6, 6\)"),
        ({"phi": (4, 50)}, r"phi has shape \(4, 50\); the model needs \(4, 56\)"),
        ({"phi": (9, 56)}, r"phi has shape \(9, 56\); the model needs \(4, 56\)"),
        ({"angles": (3, 1, 1)}, r"angles has shape \(3, 1, 1\)"),  # the bias would broadcast
        ({"bias": (6,)}, r"bias has shape \(6,\)"),
        ({"bias": (14, 14)}, r"bias has shape \(14, 14\); the model needs \(6, 6\)"),
    ],
)
def test_arrays_of_another_model_are_refused(change, sentence):
    shapes = {"phi": (4, 56), "bias": (6, 6), "angles": (3, 6, 6)} | change
    arrays = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(lambda a: model.logits(SMALL, {k: a[k] for k in ("phi", "bias")}, a["angles"]), arrays)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0, 1, 4], r"^labels go from 0 to 4; the model needs 0 to 3, its classes"),
        ([-1, 1, 2], r"^labels go from -1 to 2; the model needs 0 to 3"),
        ([0.0, 1.0, 2.0], r"^labels are float32 of shape \(3,\); the model needs integers of shape \(3,\)"),
        ([0, 1], r"^labels are int32 of shape \(2,\); the model needs integers of shape \(3,\)"),
    ],
)
def test_labels_that_are_no_classes_of_the_model_are_refused(labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        model.loss(SMALL, model.init(SMALL, 0), jnp.zeros((3, 6, 6)), jnp.array(labels))
    given = np.asarray(jnp.array(labels))
    with pytest.raises(ValueError, match=sentence):  # also where only the parameters are traced
        jax.eval_shape(lambda p: model.loss(SMALL, p, jnp.zeros((3, 6, 6)), given), model.init(SMALL, 0))


# The same functions, with their shapes checked by jaxtyping and beartype while they are traced.


@jaxtyped(typechecker=beartype)
def checked_expectations(
    cfg: ModelConfig, params: dict, angles: Float[Array, "N side side"]
) -> Float[Array, "{cfg.n_patches} N {cfg.n_classes}"]:
    return model.patch_expectations(cfg, model.prepare(cfg, params), angles)


@jaxtyped(typechecker=beartype)
def checked_logits(
    cfg: ModelConfig, params: dict, angles: Float[Array, "N side side"]
) -> Float[Array, "N {cfg.n_classes}"]:
    return model.logits(cfg, params, angles)


@jaxtyped(typechecker=beartype)
def checked_loss(
    cfg: ModelConfig,
    params: dict,
    angles: Float[Array, "N side side"],
    labels: Int[Array, "N"],  # noqa: F821
) -> Float[Scalar, ""]:
    return model.loss(cfg, params, angles, labels)


@pytest.mark.parametrize(
    "cfg",
    [
        ModelConfig(depth=2),
        ModelConfig(n_patches=49, depth=1, aggregation="sum"),
        ModelConfig(n_patches=1, depth=1, n_qubits=2, image_side=2, n_classes=4),
        ModelConfig(n_patches=9, depth=3, n_qubits=6, image_side=8, n_classes=12, shared_bias=False),
        ModelConfig(n_patches=4, depth=1, n_qubits=10, image_side=12, n_classes=20),
    ],
    ids=lambda c: f"n{c.n_patches}q{c.n_qubits}c{c.n_classes}",
)
def test_shapes_follow_the_configuration(cfg):
    params, angles, labels = draw(cfg, n=3)
    for function, arrays in ((checked_expectations, ()), (checked_logits, ()), (checked_loss, (labels,))):
        jax.eval_shape(lambda p, x, *y, f=function: f(cfg, p, x, *y), params, angles, *arrays)
