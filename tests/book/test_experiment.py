"""The experiment in the page, in a real browser without a network: its numbers are those of the library."""

import json
from importlib.resources import files

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from patchscape.book import experiment
from patchscape.learning import data, model, training
from patchscape.numerics import spectra

pytestmark = pytest.mark.slow
CHOICES = [(1, 1, "mean", 100.0), (4, 2, "mean", 30.0), (9, 1, "sum", 2.0)]


@pytest.fixture(scope="module")
def images():
    return data.load_run(experiment.RUN)


@pytest.fixture(scope="module")
def content(images):
    return experiment.collect(images)


@pytest.fixture(scope="module")
def core(browser, content):
    """The numerics alone on an empty page; a function that evaluates an expression of `core` and `given`."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    script = (files("patchscape.book") / "assets" / "experiment_core.js").read_text(encoding="utf-8")
    page.add_script_tag(content=f"{script}; window.core = experimentCore({json.dumps(content)});")
    yield lambda expression, **given: page.evaluate(f"(given) => {{ {expression} }}", given)
    context.close()


def choice(n, depth, aggregation, scale, seed=0):
    return {"n": n, "depth": depth, "aggregation": aggregation, "scale": scale, "seed": seed}


def configured(n, depth, aggregation, scale, seed=0):
    return experiment.configured(n, depth, aggregation=aggregation, scale=scale, seed=seed)


def point(cfg, seed=3):
    """Parameters in double precision, with a bias that is not zero."""
    random = np.random.default_rng(seed)
    return {"phi": random.uniform(0, np.pi, (cfg.n_patches, cfg.n_params_per_qnn)), "bias": random.normal(0, 0.3, (8, 8))}


def flat(params):
    return np.concatenate([np.ravel(params["phi"]), np.ravel(params["bias"])])


def loss_of(cfg, images):
    """The loss over the training images in double precision, of a vector in the order of the page."""
    angles, labels = jnp.asarray(images.train_angles, float), jnp.asarray(images.train_labels)
    size = cfg.n_patches * cfg.n_params_per_qnn

    def params(x):
        return {"phi": x[:size].reshape(cfg.n_patches, -1), "bias": x[size:].reshape(8, 8)}

    return lambda x: model.loss(cfg, params(x), angles, labels)


@pytest.mark.parametrize("given", CHOICES)
def test_logits_loss_gradient_and_hessian_product_are_those_of_the_library(core, images, given, x64):
    cfg = configured(*given).model
    at = point(cfg)
    x, v = flat(at), np.random.default_rng(4).normal(size=cfg.n_params)
    found = core(
        """const model = core.prepare(given.choice);
        const total = core.derivatives(model, Float64Array.from(given.x), core.images.train, {direction: given.v});
        return {...total, gradient: [...total.gradient], product: [...total.product]};""",
        choice=choice(*given), x=x.tolist(), v=v.tolist(),
    )  # fmt: skip
    loss = loss_of(cfg, images)
    both = jax.jit(lambda x, v: jax.jvp(jax.value_and_grad(loss), (x,), (v,)))
    (value, gradient), (_, product) = both(jnp.asarray(x), jnp.asarray(v))
    logits = model.logits(cfg, at, jnp.asarray(images.train_angles, float))
    assert found["loss"] == pytest.approx(float(value), rel=1e-11)
    for name, expected in (("logits", logits), ("gradient", gradient), ("product", product)):
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-10 * np.abs(expected).max(), err_msg=name)
    assert found["accuracy"] == pytest.approx(np.mean(np.argmax(logits, -1) == images.train_labels))


@pytest.mark.parametrize("seed", [0, 1001, 2**32 - 1])
def test_it_starts_where_the_library_starts_and_takes_the_same_batches(core, images, seed):
    run = configured(9, 2, "mean", 100.0, seed)
    found = core("return [...core.start(core.prepare(given.choice))]", choice=choice(9, 2, "mean", 100.0, seed))
    assert found == flat(model.init(run.model, seed)).tolist()
    for epoch in (0, 1, 29):
        expected = training.batches(images.train_labels, run.train, seed, epoch)
        mine = core("return core.batches(core.images.train.labels, given.size, given.seed, given.epoch)",
                    size=run.train.batch_size, seed=seed, epoch=epoch)  # fmt: skip
        assert mine == expected.tolist()


def test_it_trains_as_the_library_does(core, images, x64):
    run = configured(4, 1, "mean", 100.0, 5)
    found = core(
        """const training = core.train(core.prepare(given.choice)), losses = [];
        let told;
        for (let epoch = 0; epoch < 3; epoch++) losses.push((told = training.next().value).loss);
        return [losses, [...told.params]];""",
        choice=choice(4, 1, "mean", 100.0, 5),
    )
    loss = loss_of(run.model, images)
    part = jax.jit(jax.grad(lambda x, index: loss_of(run.model, images._replace(
        train_angles=jnp.asarray(images.train_angles)[index], train_labels=jnp.asarray(images.train_labels)[index]))(x)))  # fmt: skip
    x = jnp.asarray(flat(model.init(run.model, 5)), float)
    optimise = training.optimiser(run.train, training.n_batches(images.train_labels, run.train))
    state, losses = optimise.init(x), []
    for epoch in range(3):
        for index in training.batches(images.train_labels, run.train, 5, epoch):
            updates, state = optimise.update(part(x, index), state, x)
            x = optax.apply_updates(x, updates)
        losses.append(float(loss(x)))
    np.testing.assert_allclose(found[0], losses, rtol=1e-8)
    np.testing.assert_allclose(found[1], x, rtol=0, atol=1e-8)


@pytest.mark.parametrize("given", CHOICES)
def test_the_largest_eigenvalue_and_its_residual_are_those_of_the_library(core, images, given, x64):
    cfg = configured(*given).model
    x = flat(point(cfg))
    found = core(
        """const model = core.prepare(given.choice), x = Float64Array.from(given.x);
        const product = (direction) => core.derivatives(model, x, core.images.train, {direction}).product;
        const search = core.largestEigenvalue(product, x.length);
        let told = search.next();
        while (!told.done) told = search.next();
        return {...told.value, vector: [...told.value.vector]};""",
        choice=choice(*given), x=x.tolist(),
    )  # fmt: skip
    loss = loss_of(cfg, images)
    top = spectra.top_eigenvalues(loss, jnp.asarray(x), k=1, seed=0)
    assert found["lambda"] == pytest.approx(top.values[0], rel=1e-6)
    v = jnp.asarray(found["vector"])
    product = jax.jvp(jax.grad(loss), (jnp.asarray(x),), (v,))[1]
    residual = float(jnp.linalg.norm(product - found["lambda"] * v))
    assert residual <= 1e-6 * found["lambda"]
    assert found["residual"] == pytest.approx(residual, rel=1e-3, abs=1e-9 * found["lambda"])


@pytest.mark.parametrize("size", [1, 2, 40])
def test_lanczos_finds_the_top_of_a_known_spectrum_even_if_the_other_end_is_larger(core, size):
    random = np.random.default_rng(size)
    basis, _ = np.linalg.qr(random.normal(size=(size, size)))
    values = np.sort(random.normal(size=size)) - 2  # most or all negative
    matrix = basis * values @ basis.T
    found = core(
        """const search = core.largestEigenvalue(
            (v) => given.matrix.map((row) => row.reduce((sum, a, i) => sum + a * v[i], 0)), given.matrix.length);
        let told = search.next();
        while (!told.done) told = search.next();
        return told.value;""",
        matrix=matrix.tolist(),
    )  # fmt: skip
    assert found["lambda"] == pytest.approx(values[-1], rel=1e-9)
    assert found["residual"] < 1e-5


def test_images_of_another_kind_are_refused(images):
    with pytest.raises(ValueError, match="the angles are not those of pixels from 0 to 16 for 4 qubits"):
        experiment.collect(images._replace(train_angles=images.train_angles * 0.9))
