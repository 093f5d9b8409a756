"""The experiment in the page, in a real browser without a network: its numbers are those of the library."""

import json
from importlib.resources import files

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from axe_playwright_python.sync_playwright import Axe
from cases import ROOT

from patchscape.book import experiment
from patchscape.learning import data, model, training
from patchscape.numerics import spectra

pytestmark = pytest.mark.slow
SCREENS = [(1200, "light"), (390, "dark")]
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
    return {
        "phi": random.uniform(0, np.pi, (cfg.n_patches, cfg.n_params_per_qnn)),
        "bias": random.normal(0, 0.3, (8, 8)),
    }


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

    def gradient(x, angles, labels):
        return jax.grad(loss_of(run.model, images._replace(train_angles=angles, train_labels=labels)))(x)

    gradient = jax.jit(gradient)
    x = jnp.asarray(flat(model.init(run.model, 5)), float)
    optimise = training.optimiser(run.train, training.n_batches(images.train_labels, run.train))
    state, losses = optimise.init(x), []
    for epoch in range(3):
        for index in training.batches(images.train_labels, run.train, 5, epoch):
            updates, state = optimise.update(
                gradient(x, images.train_angles[index], images.train_labels[index]), state, x
            )
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


@pytest.fixture(scope="module")
def file(tmp_path_factory, content):
    """The experiment under the style sheet of the book; two epochs are enough to see that all works."""
    short = content | {"protocol": content["protocol"] | {"epochs": 2}}
    path = tmp_path_factory.mktemp("experiment") / "page.html"
    path.write_text(
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
        <title>Experiment</title><link rel="stylesheet" href="{(ROOT / "_static" / "custom.css").as_uri()}">
        <body style="margin: 16px"><article class="bd-article"><div class="cell_output"><div class="output text_html">
        {experiment.fragment(short)}</div></div></article>
        <script src="{(ROOT / "_static" / "scrolling.js").as_uri()}"></script>""",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def opened(new_page):
    """Open the experiment; return the page and everything that went wrong."""

    def opened(width=1100, **options):
        return new_page(lambda url: url.startswith(("file:", "blob:")), width, **options)

    return opened


def rows(page):
    return page.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )


def finished(page, count):
    page.wait_for_function("n => document.querySelectorAll('tbody tr').length === n", arg=count, timeout=60_000)
    page.wait_for_function("() => !document.querySelector('.experiment-go').disabled")


@pytest.mark.parametrize("worker", [True, False])
def test_one_click_trains_all_three_and_shows_loss_eigenvalues_and_residuals(opened, file, core, worker):
    page, faults = opened()
    if not worker:
        page.add_init_script("delete window.Worker")
    page.goto(file.as_uri())
    page.locator("text=Train and measure").click()
    finished(page, 3)
    assert page.locator('[data-plot="loss"] polyline').count() == 3
    assert page.locator('[data-plot="lambda"] circle').count() == 3
    assert [row[0] for row in rows(page)] == ["1", "4", "9"]
    for row in rows(page):
        value, residual = float(row[7]), float(row[8])
        assert 0 < residual < 1e-5 * value
        assert row[7] in page.locator('[data-plot="lambda"]').get_attribute("aria-label")
    assert "NaN" not in page.locator(".experiment").inner_text()
    assert faults == []


def test_the_page_shows_what_the_numerics_found(opened, file, core):
    page, _ = opened()
    page.goto(file.as_uri())
    for n in (4, 9):
        page.uncheck(f'[name=experiment-n][value="{n}"]', force=True)
    page.fill("[data-choice=seed]", "7")
    page.locator("text=Train and measure").click()
    finished(page, 1)
    found = page.evaluate("""() => { const data = JSON.parse(document.getElementById('experiment-data').textContent);
        return [...experimentCore(data).run({n: 1, depth: 1, aggregation: 'mean', scale: 100, seed: 7})].pop(); }""")
    assert found["kind"] == "result"
    (row,) = rows(page)
    assert float(row[5]) == pytest.approx(found["loss"], rel=1e-2)
    assert float(row[7]) == pytest.approx(found["lambda"], rel=1e-2)


def test_several_seeds_are_trained_one_after_the_other(opened, file):
    page, _ = opened()
    page.goto(file.as_uri())
    for n in (4, 9):
        page.uncheck(f'[name=experiment-n][value="{n}"]', force=True)
    page.fill("[data-choice=seed]", str(2**32 - 2))
    page.select_option("[data-choice=repeat]", "3")
    page.locator("text=Train and measure").click()
    finished(page, 3)
    assert [row[4] for row in rows(page)] == ["4294967294", "4294967295", "0"]


def test_what_the_page_says_to_expect_happens_with_every_seed_that_it_names(core):
    def scaled(n, name):
        found = core(
            """return given.seeds.map(seed => [...core.run({...given.setting, n: given.n, seed})].pop())
                .map(r => r.lambda / -Math.expm1(-r.loss))""",
            n=n, setting=experiment.TRIES[name], seeds=list(range(5)),
        )  # fmt: skip
        return np.array(found)

    four, nine = scaled(4, "mean"), scaled(9, "mean")
    assert (nine < four).all()
    assert 0.75 < np.exp(np.log(4 / 9 * four / nine).mean()) < 1.25  # near the line 1/n
    assert scaled(4, "sum") == pytest.approx(four)
    assert (scaled(9, "sum") > four).all()
    angles = [experiment.configured(4, depth).model.n_params_per_qnn for depth in (1, 2)]
    for n, shallow in ((4, four), (9, nine)):
        assert 1.1 < np.exp(np.log(scaled(n, "depth") / shallow).mean()) < 1.5 * angles[1] / angles[0]


def test_stop_stops_at_once_and_clear_clears(opened, file):
    page, faults = opened()
    page.goto(file.as_uri())
    page.locator("text=2: sum of the circuits").click()
    assert page.locator('[name=experiment-aggregation][value="sum"]').is_checked()
    assert page.locator('[name=experiment-kind][value="scaled"]').is_checked()
    page.locator("[data-do=stop]").click()
    assert page.locator(".explorer-summary").inner_text() == "Stopped."
    assert page.evaluate("() => document.activeElement.className") == "experiment-go"
    page.wait_for_timeout(1500)
    assert page.locator("tbody tr").count() < 3
    page.locator("[data-do=clear]").click()
    assert page.locator("tbody tr").count() == page.locator('[data-plot="lambda"] circle').count() == 0
    assert faults == []


def test_a_seed_that_is_none_is_refused(opened, file):
    page, _ = opened()
    page.goto(file.as_uri())
    page.fill("[data-choice=seed]", "-1")
    for button in ("Train and measure", "1: mean of the circuits"):
        page.locator(f"text={button}").click()
        assert page.locator(".explorer-summary").inner_text() == "Nothing has been trained yet."
    page.fill("[data-choice=seed]", "0")
    for n in (1, 4, 9):
        page.uncheck(f'[name=experiment-n][value="{n}"]', force=True)
    page.locator("text=Train and measure").click()
    assert page.locator(".explorer-summary").inner_text() == "Choose at least one number of patches."


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_it_is_accessible_and_fits_the_screen(opened, file, width, scheme):
    page, _ = opened(width, color_scheme=scheme)
    page.goto(file.as_uri())
    page.locator("text=Train and measure").click()
    finished(page, 3)
    violations = Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in {"serious", "critical"}] == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_it_can_be_used_with_the_keyboard_alone(opened, file):
    page, _ = opened()
    page.goto(file.as_uri())
    page.focus('[name=experiment-n][value="4"]')
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.locator("[name=experiment-n]:checked").count() == 1
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.locator('[name=experiment-depth][value="2"]').is_checked()
    page.focus("[data-choice=seed]")
    page.keyboard.press("Enter")
    finished(page, 1)
    assert rows(page)[0][:2] == ["1", "2"]
