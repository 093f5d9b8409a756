"""The author's protocol, replayed; and runs that stop, go on, and share a program."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.model_selection import StratifiedKFold

from patchscape import config
from patchscape.config import ModelConfig, RunConfig, TrainConfig
from patchscape.learning import checkpoints, data, model, training
from patchscape.store import records

PUBLISHED = Path(__file__).parents[2] / "data" / "published"
SEEDS = [3, 4, 5]
RUN = RunConfig(
    model=ModelConfig(n_patches=4, depth=1, n_qubits=4, image_side=8, n_classes=8),
    # All wires are measured: the last angles of the others never change the loss, and Adam would amplify rounding.
    # The rate is large, so that the last epoch is not the best, and zero in epoch 2.
    train=TrainConfig(learning_rate=0.3, epochs=5, batch_size=40, lr_half_period=2),
    dataset="digits",
    n_train=121,
    n_test=30,
    seed=3,
)
CURVES = ("batch_loss", "train_loss", "train_accuracy", "test_loss", "test_accuracy")


@pytest.fixture(scope="module")
def images():
    return data.load_run(RUN)


@pytest.fixture(scope="module")
def whole(images):
    """Three seeds, trained together without a stop."""
    return training.train(RUN, images, seeds=SEEDS, keep_trajectory=True)


def assert_same(a, b):
    """Every number of two results, bit for bit, but the time they took."""
    for name in training.Trained._fields:
        if name != "wall_s":
            jax.tree.map(np.testing.assert_array_equal, getattr(a, name), getattr(b, name))


# --- the protocol ----------------------------------------------------------------------------------------------------


def test_the_learning_rate_falls_to_zero_and_rises_again_with_a_period_of_ten_epochs():
    cfg = TrainConfig(learning_rate=1e-2)
    rates = np.array([training.learning_rate(cfg, epoch) for epoch in range(50)])
    np.testing.assert_allclose(rates[[0, 10, 20, 30, 40]], 1e-2, rtol=1e-5)
    np.testing.assert_allclose(rates[[5, 15, 25, 35, 45]], 0, atol=1e-12)
    np.testing.assert_allclose(
        rates[:6], 1e-2 * np.array([1, 0.9045085, 0.6545085, 0.3454915, 0.0954915, 0]), atol=1e-8
    )
    np.testing.assert_allclose(rates[10:], rates[:-10], atol=1e-8)
    assert np.flatnonzero(rates < 1e-8).tolist() == [5, 15, 25, 35, 45]


@pytest.mark.usefixtures("x64")
def test_the_optimiser_is_torchs_adam_with_weight_decay_in_the_gradient():
    cfg = TrainConfig(learning_rate=0.05, weight_decay=0.1, lr_half_period=3)
    n_batches, random = 4, np.random.default_rng(0)
    params = {"phi": random.normal(size=(2, 5)), "bias": random.normal(size=(3, 3))}
    target = {name: random.normal(size=value.shape) for name, value in params.items()}
    gradients = lambda p, step: {k: (p[k] - target[k]) * (1 + step % 3) for k in p}  # noqa: E731

    # torch.optim.Adam, line by line
    p, m, v = dict(params), dict.fromkeys(params, 0.0), dict.fromkeys(params, 0.0)
    for step in range(20):
        rate = 0.05 * (1 + np.cos(np.pi * (step // n_batches) / 3)) / 2
        for k, gradient in gradients(p, step).items():
            g = gradient + 0.1 * p[k]
            m[k] = 0.9 * m[k] + (1 - 0.9) * g
            v[k] = 0.999 * v[k] + (1 - 0.999) * g**2
            denominator = np.sqrt(v[k]) / np.sqrt(1 - 0.999 ** (step + 1)) + 1e-8
            p[k] = p[k] - rate / (1 - 0.9 ** (step + 1)) * m[k] / denominator

    optimise = training.optimiser(cfg, n_batches)
    ours = jax.tree.map(jnp.asarray, params)
    state = optimise.init(ours)

    @jax.jit
    def one(ours, state, step):
        updates, state = optimise.update(gradients(ours, step), state, ours)
        return optax.apply_updates(ours, updates), state

    for step in range(20):
        ours, state = one(ours, state, step)
    for k in params:
        assert np.abs(p[k] - params[k]).max() > 0.1
        np.testing.assert_allclose(ours[k], p[k], rtol=0, atol=1e-10)


def test_batches_at_the_papers_size_hold_every_image_once_and_every_class_alike():
    labels = data.load("mnist").train_labels
    index = training.batches(labels, TrainConfig(), seed=1001, epoch=0)
    assert index.shape == (60, 1000)
    np.testing.assert_array_equal(np.sort(index.ravel()), np.arange(60000))
    counts = np.stack([np.bincount(labels[batch], minlength=10) for batch in index])
    assert np.ptp(counts, axis=0).max() <= 1


@pytest.mark.parametrize("epoch", [0, 7, 49])
def test_batches_are_the_test_folds_of_the_authors_split(epoch):
    labels = np.random.default_rng(0).integers(0, 5, 300)
    state = np.random.RandomState(1001).randint(0, 1 << 32, size=50)[epoch]
    split = StratifiedKFold(6, shuffle=True, random_state=state).split(np.zeros(300), labels)
    index = training.batches(labels, TrainConfig(batch_size=50), 1001, epoch)
    np.testing.assert_array_equal(index, [test for _, test in split])


def test_batches_differ_between_epochs_and_seeds_also_beyond_the_authors_fifty_epochs():
    labels, cfg = np.arange(300) % 5, TrainConfig(batch_size=50)
    drawn = [training.batches(labels, cfg, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0), (1, 50), (1, 51))]
    assert len({index.tobytes() for index in drawn}) == 5


def test_batches_of_unequal_folds_lose_at_most_one_image_each():
    labels = np.random.default_rng(0).integers(0, 5, 107)
    index = training.batches(labels, TrainConfig(batch_size=25), 0, 0)
    assert index.shape == (4, 26)
    assert len(set(index.ravel().tolist())) == 104


@pytest.mark.parametrize(("size", "n_batches"), [(301, 0), (151, 1), (1, 300)])
def test_a_batch_size_that_does_not_fit_is_refused(size, n_batches):
    with pytest.raises(ValueError, match=f"^batch_size={size} gives {n_batches} batches from 300 images: choose"):
        training.batches(np.arange(300) % 5, TrainConfig(batch_size=size), 0, 0)


@pytest.mark.slow
def test_the_published_run_of_four_patches_and_depth_fifty_is_replayed(optimised):
    with (PUBLISHED / "training_log_epoch0.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["n_patches"], row["depth"]) == ("4", "50")]
    published = np.array([float(row["train_loss"]) for row in rows[:10]])
    assert [int(row["iteration"]) for row in rows[:10]] == list(range(10))
    run = config.paper(4, 50)
    images = data.load_run(run)
    index = training.batches(images.train_labels, run.train, run.seed, 0)[:10]
    used = np.unique(index)  # only these images travel
    index = np.searchsorted(used, index)
    params = jax.tree.map(lambda x: x[None], model.init(run.model, run.seed))
    state = jax.vmap(training.optimiser(run.train, 10).init)(params)
    angles, labels = (jnp.asarray(x[used]) for x in images[:2])
    _, _, losses = training._epoch(run.model, run.train, params, state, angles, labels, jnp.asarray(index[None]))
    np.testing.assert_allclose(losses[0], published, rtol=1e-3)


# --- runs ------------------------------------------------------------------------------------------------------------


def test_training_learns_and_records_every_epoch(whole, images):
    assert whole.seeds.tolist() == SEEDS
    assert whole.batch_loss.shape == (3, 5, 3)
    assert all(getattr(whole, name).shape == (3, 5) for name in CURVES[1:])
    assert whole.trajectory.shape == (3, 6, 4, RUN.model.n_params_per_qnn)
    assert all(np.isfinite(getattr(whole, name)).all() for name in CURVES)
    assert (whole.train_loss.min(1) < whole.batch_loss[:, 0, 0] / 2).all()
    assert whole.wall_s > 0


def test_a_run_starts_at_the_seeds_initial_parameters(whole, images):
    for number, seed in enumerate(SEEDS):
        np.testing.assert_array_equal(whole.trajectory[number, 0], model.init(RUN.model, seed)["phi"])


def test_the_minimum_is_the_epoch_with_the_least_training_loss(whole, images):
    np.testing.assert_array_equal(whole.minimum_epoch, whole.train_loss.argmin(1))
    assert (whole.minimum_epoch < 4).any()  # or this test would say nothing
    evaluate = jax.jit(lambda p: model.loss(RUN.model, p, *map(jnp.asarray, images[:2])))
    for number, epoch in enumerate(whole.minimum_epoch):
        np.testing.assert_array_equal(whole.minimum["phi"][number], whole.trajectory[number, epoch + 1])
        params = {name: value[number] for name, value in whole.minimum.items()}
        np.testing.assert_allclose(evaluate(params), whole.train_loss[number, epoch], rtol=1e-4)


def test_the_last_point_of_the_trajectory_is_the_final_one(whole):
    np.testing.assert_array_equal(whole.trajectory[:, -1], whole.final["phi"])


def test_curves_are_the_loss_and_accuracy_of_all_images(whole, images):
    for part, (loss, accuracy) in enumerate((CURVES[1:3], CURVES[3:5])):
        x, y = map(jnp.asarray, images[2 * part : 2 * part + 2])
        logits = jax.jit(lambda p, x=x: model.logits(RUN.model, p, x))
        z = logits({name: value[1] for name, value in whole.final.items()})
        np.testing.assert_allclose(getattr(whole, loss)[1, -1], model.cross_entropy(z, y), rtol=1e-4)
        np.testing.assert_allclose(getattr(whole, accuracy)[1, -1], np.mean(z.argmax(1) == y), rtol=1e-5)


def test_small_losses_beside_large_logits_keep_their_digits():
    margins = np.array([12.0, 9.0, 25.0])
    logits = np.zeros((2, 3, 2), np.float32)
    logits[0, :, 0], logits[0, :, 1] = 400, 400 - margins
    logits[1, 0, 0] = np.nan
    loss, accuracy = training.loss_and_accuracy(logits, np.zeros(3, np.int32))
    np.testing.assert_allclose(loss, [np.log1p(np.exp(-margins)).mean(), np.nan], rtol=1e-6)
    np.testing.assert_array_equal(accuracy, [1, np.nan])


def test_nothing_moves_in_an_epoch_whose_learning_rate_is_zero(whole):
    moved = np.abs(np.diff(whole.trajectory, axis=1)).max((2, 3))
    assert (moved[:, [0, 1, 3, 4]] > 1e-3).all()
    assert (moved[:, 2] == 0).all()


@pytest.mark.slow
def test_the_ensemble_is_the_mean_of_the_logits_at_zero_learning_rate(images):
    run = RUN.model_copy(update={"train": RUN.train.model_copy(update={"lr_half_period": 1})})
    assert training.snapshot_epochs(run.train) == [1, 3]
    trained = training.train(run, images, seeds=SEEDS, keep_trajectory=True)
    shorter = [run.model_copy(update={"train": run.train.model_copy(update={"epochs": e})}) for e in (2, 4)]
    members = [training.train(each, images, seeds=SEEDS).final for each in shorter]
    for s in range(len(SEEDS)):
        logits = [model.logits(run.model, {k: v[s] for k, v in p.items()}, images.test_angles) for p in members]
        mean = np.mean(logits, 0)
        loss = model.cross_entropy(mean, images.test_labels)
        np.testing.assert_allclose(trained.ensemble_test_loss[s], loss, rtol=1e-4)
        assert trained.ensemble_test_accuracy[s] == pytest.approx(np.mean(mean.argmax(1) == images.test_labels))


def test_without_an_epoch_at_zero_learning_rate_there_is_no_ensemble(images):
    run = RUN.model_copy(update={"train": RUN.train.model_copy(update={"epochs": 2})})
    trained = training.train(run, images)
    assert np.isnan([trained.ensemble_test_loss, trained.ensemble_test_accuracy]).all()


def test_several_seeds_together_equal_one_by_one(whole, images):
    for number, seed in enumerate(SEEDS[:2]):
        alone = training.train(RUN, images, seeds=[seed])
        for name in CURVES:
            np.testing.assert_allclose(getattr(alone, name)[0], getattr(whole, name)[number], rtol=1e-3)
        np.testing.assert_allclose(alone.final["phi"][0], whole.final["phi"][number], rtol=0, atol=1e-3)
        assert alone.trajectory is None
    assert np.abs(whole.final["phi"][0] - whole.final["phi"][1]).max() > 0.1


def test_the_same_seeds_give_the_same_numbers(whole, images):
    assert_same(training.train(RUN, images, seeds=SEEDS, keep_trajectory=True), whole)


class Stopped(Exception):
    """The machine goes off."""


@pytest.mark.parametrize("moment", ["before the checkpoint", "between its files", "after the checkpoint"])
def test_a_run_that_stopped_goes_on_and_ends_with_the_very_same_numbers(whole, images, tmp_path, monkeypatch, moment):
    path, written = tmp_path / "run.safetensors", []

    def stop_in_the_third_epoch(*arguments):
        written.append(arguments)  # two files for every epoch
        if (moment, len(written)) in {("before the checkpoint", 5), ("between its files", 6)}:
            raise Stopped
        write(*arguments)
        if len(written) == 6:
            raise Stopped

    write = records.write
    monkeypatch.setattr(records, "write", stop_in_the_third_epoch)
    with pytest.raises(Stopped):
        training.train(RUN, images, seeds=SEEDS, keep_trajectory=True, checkpoint=path)
    monkeypatch.undo()
    done = len(records.read(path).arrays["train_loss"])
    assert done == (3 if moment == "after the checkpoint" else 2)

    epochs, one_epoch = [], training._epoch
    monkeypatch.setattr(training, "_epoch", lambda *arguments: epochs.append(1) or one_epoch(*arguments))
    resumed = training.train(RUN, images, seeds=SEEDS, keep_trajectory=True, checkpoint=path)
    assert len(epochs) == 5 - done
    assert_same(resumed, whole)
    assert resumed.wall_s > records.read(path).meta["wall_s"] / 2

    # a finished run is read, not repeated
    again = training.train(RUN, images, seeds=SEEDS, keep_trajectory=True, checkpoint=path)
    assert len(epochs) == 5 - done
    assert_same(again, whole)
    assert again.wall_s == resumed.wall_s


def test_a_run_whose_path_was_lost_goes_on_and_lacks_nothing_else(whole, images, tmp_path, monkeypatch):
    path, one_epoch, epochs = tmp_path / "run.safetensors", training._epoch, []

    def stop_in_the_third_epoch(*arguments):
        epochs.append(1)
        if len(epochs) == 3:
            raise Stopped
        return one_epoch(*arguments)

    monkeypatch.setattr(training, "_epoch", stop_in_the_third_epoch)
    with pytest.raises(Stopped):
        training.train(RUN, images, seeds=SEEDS, keep_trajectory=True, checkpoint=path)
    monkeypatch.undo()
    checkpoints.path_file(path).unlink()
    with pytest.warns(UserWarning, match="will have no trajectory"):
        resumed = training.train(RUN, images, seeds=SEEDS, keep_trajectory=True, checkpoint=path)
    assert resumed.trajectory is None
    assert_same(resumed._replace(trajectory=whole.trajectory), whole)
    checkpoints.remove(path)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_checkpoint_of_another_run_is_refused_and_left_alone(images, tmp_path):
    path = tmp_path / "run.safetensors"
    training.train(RUN, images, seeds=SEEDS, keep_trajectory=True, checkpoint=path)
    before = path.read_bytes()
    other = RUN.model_copy(update={"train": RUN.train.model_copy(update={"learning_rate": 0.2})})
    changed = images._replace(train_angles=images.train_angles[::-1], train_labels=images.train_labels[::-1])
    for run, x, arguments in (
        (other, images, {"seeds": SEEDS, "keep_trajectory": True}),
        (RUN, images, {"seeds": SEEDS[:2], "keep_trajectory": True}),
        (RUN, images, {"seeds": SEEDS}),
        (RUN, changed, {"seeds": SEEDS, "keep_trajectory": True}),
    ):
        with pytest.raises(ValueError, match=r"run\.safetensors belongs to another run: delete it or name another"):
            training.train(run, x, checkpoint=path, **arguments)
    assert path.read_bytes() == before


def test_a_damaged_checkpoint_is_refused(images, tmp_path):
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="is no run file of patchscape"):
        training.train(RUN, images, checkpoint=path)


@pytest.mark.parametrize("seeds", [[], [1, 2, 1]])
def test_seeds_must_be_there_and_differ(images, seeds):
    with pytest.raises(ValueError, match=r"give at least one seed, each once\.$"):
        training.train(RUN, images, seeds=seeds)


def test_no_epochs_return_the_initial_parameters(images):
    none = RUN.model_copy(update={"train": RUN.train.model_copy(update={"epochs": 0})})
    trained = training.train(none, images, keep_trajectory=True)
    assert trained.train_loss.shape == (1, 0)
    assert trained.minimum_epoch.tolist() == [-1]
    np.testing.assert_array_equal(trained.final["phi"][0], model.init(RUN.model, RUN.seed)["phi"])
    assert trained.trajectory.shape[:2] == (1, 1)


def test_a_run_file_holds_every_seed_with_the_configuration(whole, tmp_path):
    path = tmp_path / "run.safetensors"
    training.store(path, RUN, whole, extra={"ensemble_test_loss": np.arange(len(SEEDS))})
    record = records.read(path)
    for name in (*CURVES, "minimum_epoch"):
        np.testing.assert_array_equal(record.arrays[name], getattr(whole, name))
    for name, value in whole.minimum.items():
        np.testing.assert_array_equal(record.arrays[f"minimum/{name}"], value)
    assert record.arrays["ensemble_test_loss"].tolist() == list(range(len(SEEDS)))
    assert RunConfig.model_validate(record.meta["run"]) == RUN.model_copy(update={"seed": SEEDS[0]})
    assert record.meta["seeds"] == list(SEEDS)
    assert record.meta["codes"] == [record.meta["provenance"]["code"]]
    assert record.meta["images"] == data.load_run(RUN).fingerprint
    assert {"wall_s", "provenance"} <= record.meta.keys()
