"""The author's training protocol: Adam with a periodic cosine learning rate, stratified batches, many seeds at once.

Differs from the paper in nothing that we know of at `config.paper`; smaller runs use fewer images and epochs.
"""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import logsumexp
from tqdm.auto import tqdm

from patchscape import runtime
from patchscape.config import ModelConfig, RunConfig, TrainConfig
from patchscape.learning import checkpoints, data, model
from patchscape.store import files, records

CHUNK = 1000  # ours: images per chunk of a full evaluation


class Trained(NamedTuple):
    """Runs of one configuration with several seeds; S seeds, E epochs, B batches per epoch.

    Attributes:
        seeds: (S,).
        batch_loss: (S, E, B) loss of each batch before its step, in nats.
        train_loss: (S, E) loss over all training images at the end of each epoch, in nats.
        train_accuracy: (S, E).
        test_loss: (S, E), in nats.
        test_accuracy: (S, E).
        minimum_epoch: (S,) epoch (from 0) with the least training loss, as in the paper.
        minimum: parameters there, each with a leading axis S.
        final: parameters after the last epoch, likewise.
        ensemble_test_loss: (S,) test loss of the mean of the logits over the epochs in which the learning rate is zero
            (`author's code`: a snapshot ensemble), in nats; NaN if there is no such epoch.
        ensemble_test_accuracy: (S,), likewise.
        trajectory: phi (S, E + 1, n, n_params_per_qnn) at the start and after every epoch; None if it was not kept, or
            was lost with a part of the checkpoint.
        wall_s: seconds spent, over all resumptions.
        fingerprint: of the images, as `data.ImageData` has it.
        codes: versions of the code that took part, one unless a run was continued by another version.
    """

    seeds: np.ndarray
    batch_loss: np.ndarray
    train_loss: np.ndarray
    train_accuracy: np.ndarray
    test_loss: np.ndarray
    test_accuracy: np.ndarray
    minimum_epoch: np.ndarray
    minimum: dict[str, np.ndarray]
    final: dict[str, np.ndarray]
    ensemble_test_loss: np.ndarray
    ensemble_test_accuracy: np.ndarray
    trajectory: np.ndarray | None
    wall_s: float
    fingerprint: str
    codes: tuple[str, ...] = ()


def learning_rate(cfg: TrainConfig, epoch: int | jax.Array) -> jax.Array:
    """Learning rate of an epoch, lr0 (1 + cos(pi epoch / half_period)) / 2 (`author's code`): periodic, no restart.

    Args:
        cfg: the protocol.
        epoch: from 0.

    Returns:
        The rate, constant within the epoch and zero at odd multiples of the half period.
    """
    return cfg.learning_rate * (1 + jnp.cos(jnp.pi * epoch / cfg.lr_half_period)) / 2


def snapshot_epochs(cfg: TrainConfig) -> list[int]:
    """Epochs, from 0, in which the learning rate is zero: odd multiples of the half period."""
    return list(range(cfg.lr_half_period, cfg.epochs, 2 * cfg.lr_half_period))


@lru_cache
def optimiser(cfg: TrainConfig, n_batches: int) -> optax.GradientTransformation:
    """Adam with weight decay added to the gradient (`author's code`: torch.optim.Adam, not AdamW).

    Args:
        cfg: the protocol.
        n_batches: batches per epoch.

    Returns:
        An optax transformation.
    """
    return optax.chain(
        optax.add_decayed_weights(cfg.weight_decay),
        optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
        optax.scale_by_learning_rate(lambda step: learning_rate(cfg, step // n_batches)),
    )


def n_batches(labels: np.ndarray, cfg: TrainConfig) -> int:
    """Number of batches of an epoch.

    Args:
        labels: (N,).
        cfg: the protocol.

    Returns:
        N // batch_size.

    Raises:
        ValueError: if there are fewer than two batches or fewer images of every class than batches.
    """
    count = len(labels) // cfg.batch_size
    if not 2 <= count <= np.bincount(labels).max():
        raise ValueError(
            f"batch_size={cfg.batch_size} gives {count} batches from {len(labels)} images: choose a batch size "
            f"for at least 2 batches and at most as many as the largest class has images."
        )
    return count


def batches(labels: np.ndarray, cfg: TrainConfig, seed: int, epoch: int) -> np.ndarray:
    """Image numbers of every batch of an epoch: the test folds of a stratified split (`author's code`).

    Args:
        labels: (N,).
        cfg: the protocol.
        seed: seed of the run.
        epoch: from 0.

    Returns:
        (n_batches, batch) with n_batches = N // batch_size; folds longer than the shortest one lose an image.

    Raises:
        ValueError: if there are fewer than two batches or fewer images of every class than batches.
    """
    from sklearn.model_selection import StratifiedKFold

    n_folds = n_batches(labels, cfg)
    state = np.random.RandomState(seed).randint(0, 1 << 32, size=max(50, epoch + 1))[epoch]
    split = StratifiedKFold(n_folds, shuffle=True, random_state=int(state))
    folds = [fold for _, fold in split.split(labels, labels)]
    return np.stack([fold[: len(labels) // n_folds] for fold in folds])


def _every_seed(f: Callable, *arguments):
    """All seeds in one program; on a CPU in turn, which is faster there than side by side."""
    return model.over_first_axis(f, *arguments, large=True)


@partial(jax.jit, static_argnums=(0, 1))
def _epoch(cfg: ModelConfig, protocol: TrainConfig, params, state, angles, labels, index):
    """One epoch for every seed; index (S, B, batch)."""
    optimise = optimiser(protocol, index.shape[1])

    def one_seed(params, state, index):
        def step(carry, batch):
            params, state = carry
            loss, gradient = jax.value_and_grad(lambda p: model.loss(cfg, p, angles[batch], labels[batch]))(params)
            updates, state = optimise.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), loss

        (params, state), losses = jax.lax.scan(step, (params, state), index)
        return params, state, losses

    return _every_seed(one_seed, params, state, index)


@partial(jax.jit, static_argnums=0)
def _logits(cfg: ModelConfig, params, chunks):
    """Logits (S, n_chunks size, C) of images (n_chunks, size, side, side)."""

    def one_seed(p):
        shared = model.prepare(cfg, p)
        return jax.lax.map(lambda angles: model.logits_from(cfg, shared, angles), chunks)

    logits = _every_seed(one_seed, params)
    return logits.reshape(len(logits), -1, cfg.n_classes)


def loss_and_accuracy(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean cross-entropy and accuracy of logits, in double precision: beside large logits, single rounds small losses.

    Args:
        logits: (..., N, C).
        labels: (N,) integers below C.

    Returns:
        Loss in nats and accuracy, (...,) each; NaN where the logits are.
    """
    own = np.take_along_axis(logits, np.broadcast_to(labels[:, None], (*logits.shape[:-1], 1)), -1)
    loss = logsumexp(np.subtract(logits, own, dtype=np.float64), -1).mean(-1)
    hits = np.mean(logits.argmax(-1) == labels, -1)
    return loss.astype(np.float32), np.where(np.isnan(loss), np.nan, hits).astype(np.float32)


def evaluation(
    cfg: ModelConfig, images: data.ImageData
) -> Callable[[model.Params], tuple[dict[str, np.ndarray], np.ndarray]]:
    """Prepares loss and accuracy on all training and on all test images.

    Args:
        cfg: the model.
        images: the data set.

    Returns:
        A function of parameters with a leading axis of seeds. It returns train_loss, train_accuracy, test_loss (nats)
        and test_accuracy, (S,) each, and the logits (S, n_test, C) of the test images.
    """
    labels = [np.asarray(images.train_labels), np.asarray(images.test_labels)]
    n_train, n_images = len(labels[0]), len(labels[0]) + len(labels[1])
    every = np.concatenate([images.train_angles, images.test_angles])  # one program for both
    chunks = jnp.asarray(data.chunks(every, np.concatenate(labels), CHUNK)[0])

    def evaluate(params: model.Params) -> tuple[dict[str, np.ndarray], np.ndarray]:
        logits = np.split(np.asarray(_logits(cfg, params, chunks))[:, :n_images], [n_train], axis=1)
        values = (value for z, own in zip(logits, labels, strict=True) for value in loss_and_accuracy(z, own))
        return dict(zip(_CURVES, values, strict=True)), logits[1]

    return evaluate


def checked(run: RunConfig, images: data.ImageData, seeds: Sequence[int] | None = None) -> tuple[RunConfig, list[int]]:
    """Refuses what cannot be trained, before any work.

    Args:
        run: the configuration.
        images: the data set.
        seeds: one run each; default is the run's own seed.

    Returns:
        The configuration, with all fields checked, and the seeds.

    Raises:
        ValueError: as `train`.
    """
    run = RunConfig(**run.model_dump())  # `model_copy`, which changes a configuration, checks nothing
    seeds = [run.seed] if seeds is None else list(seeds)
    seeds = [RunConfig(**run.model_dump() | {"seed": seed}).seed for seed in seeds]  # refuses what is no seed
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds={seeds}: give at least one seed, each once.")
    data.check(run, images)
    n_batches(images.train_labels, run.train)  # refuses a batch size
    return run, seeds


def train(
    run: RunConfig,
    images: data.ImageData,
    *,
    seeds: Sequence[int] | None = None,
    checkpoint: str | Path | None = None,
    keep_trajectory: bool = False,
    progress: bool = False,
    after_epoch: Callable[[int, model.Params, dict[str, np.ndarray]], bool] | None = None,
) -> Trained:
    """Trains one configuration with one or many seeds, all in one program.

    Args:
        run: the configuration.
        images: the data set, from `data.load_run(run)` or, if it is your own, `data.from_arrays`.
        seeds: one run each; default is the run's own seed.
        checkpoint: a file that is rewritten after every epoch and continued from if it exists; None keeps none.
        keep_trajectory: also return phi after every epoch.
        progress: show a progress bar.
        after_epoch: is called with the number of an epoch that is over, from 0, the parameters with a leading axis of
            seeds, and the losses and accuracies (`evaluation`); if it returns true, training ends there. Epochs that a
            checkpoint holds are over already.

    Returns:
        The trained runs; E is the number of epochs that were trained.

    Raises:
        ValueError: if the configuration or a seed is not allowed, the images are not those of the run or too few for
            its batches, or the checkpoint belongs to another run.
    """
    run, seeds = checked(run, images, seeds)
    protocol = run.train
    identity = {
        "run": run.model_copy(update={"seed": seeds[0]}).digest(),
        "seeds": seeds,
        "keep_trajectory": keep_trajectory,
        "images": images.fingerprint,
    }
    provenance = records.provenance()
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(model.init(run.model, seed) for seed in seeds))
    moments = jax.jit(jax.vmap(optimiser(protocol, len(images.train_labels) // protocol.batch_size).init))(params)
    logits = (len(images.test_labels), run.model.n_classes)
    state = checkpoints.start(params, moments, ("batch_loss", *_CURVES), logits, provenance["code"])
    if checkpoint is not None and Path(checkpoint).exists():
        state = checkpoints.restore(checkpoint, identity, state)
    on_device = [jnp.asarray(x) for x in images[:2]]
    evaluate = evaluation(run.model, images)
    one_epoch = protocol.model_copy(update={"epochs": 1})  # runs of any length share a compiled program
    done = len(state.history["train_loss"])
    bar = tqdm(range(done, protocol.epochs), disable=not progress, unit="epoch", desc=run.name())
    for epoch in bar:
        start = time.perf_counter()
        index = np.stack([batches(images.train_labels, protocol, seed, epoch) for seed in seeds])
        params, moments, losses = _epoch(
            run.model, one_epoch, state.params, state.moments, *on_device, jnp.asarray(index)
        )
        values, test_logits = evaluate(params)
        state = checkpoints.advance(state, epoch, params, moments, {"batch_loss": np.asarray(losses), **values})
        if epoch in snapshot_epochs(protocol):
            state = state._replace(snapshot_logits=state.snapshot_logits + test_logits)
        if keep_trajectory and state.path is not None:
            state = state._replace(path=[*state.path, np.asarray(params["phi"])])
        state = state._replace(wall=state.wall + time.perf_counter() - start)
        bar.set_postfix(train_loss=f"{values['train_loss'].mean():.4f}")
        if checkpoint is not None:
            checkpoints.save(checkpoint, state, {"identity": identity, "provenance": provenance})
        if after_epoch is not None and after_epoch(epoch, params, values):
            break

    curves = {name: np.stack(value, 1) if value else np.zeros((len(seeds), 0)) for name, value in state.history.items()}
    count = sum(epoch < len(state.history["train_loss"]) for epoch in snapshot_epochs(protocol))
    mean = state.snapshot_logits / count if count else np.full_like(state.snapshot_logits, np.nan)
    ensemble_loss, ensemble_accuracy = loss_and_accuracy(mean, images.test_labels)
    return Trained(
        seeds=np.array(seeds),
        **curves,
        minimum_epoch=state.epoch_of_best,
        minimum=jax.tree.map(np.asarray, state.best),
        final=jax.tree.map(np.asarray, state.params),
        ensemble_test_loss=ensemble_loss,
        ensemble_test_accuracy=ensemble_accuracy,
        trajectory=np.stack(state.path, 1) if keep_trajectory and state.path is not None else None,
        wall_s=state.wall,
        fingerprint=images.fingerprint,
        codes=state.codes,
    )


def release() -> None:
    """Says that the compiled programs for training are `runtime.finished`: another configuration needs others."""
    runtime.finished(_epoch, _logits)


_CURVES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


def store(
    path: str | Path,
    run: RunConfig,
    trained: Trained,
    *,
    extra: dict[str, np.ndarray] | None = None,
    keep_trajectory: bool = True,
) -> None:
    """Writes the runs of one configuration as a run file: curves, minima, configuration, data and provenance.

    Args:
        path: the file, ending in .safetensors.
        run: the configuration.
        trained: from `train`.
        extra: more arrays with a leading axis of seeds.
        keep_trajectory: whether phi after every epoch goes into the file, if there is one.
    """
    names = ("batch_loss", *_CURVES, "minimum_epoch", "ensemble_test_loss", "ensemble_test_accuracy")
    arrays = {name: getattr(trained, name) for name in names}
    arrays |= {f"minimum/{name}": value for name, value in trained.minimum.items()} | (extra or {})
    if trained.trajectory is not None and keep_trajectory:
        arrays["trajectory"] = trained.trajectory
    meta = {
        "run": run.model_copy(update={"seed": int(trained.seeds[0])}).model_dump(mode="json"),
        "seeds": trained.seeds.tolist(),
        "images": trained.fingerprint,
        "wall_s": trained.wall_s,
        "codes": list(trained.codes),
        "provenance": records.provenance(),
    }
    files.write("run", path, arrays, meta)


def restore(record: records.Record) -> Trained:
    """Makes of a run file what `train` returned.

    Args:
        record: of a run file that keeps the path, and the parameters after the last epoch as `final/...`.

    Returns:
        The trained runs.

    Raises:
        KeyError: if the file does not keep them.
    """
    arrays, meta = record.arrays, record.meta

    def parameters(where: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(where): value for name, value in arrays.items() if name.startswith(where)}

    names = ("batch_loss", *_CURVES, "minimum_epoch", "ensemble_test_loss", "ensemble_test_accuracy", "trajectory")
    return Trained(
        seeds=np.array(meta["seeds"]),
        **{name: arrays[name] for name in names},
        minimum=parameters("minimum/"),
        final=parameters("final/"),
        wall_s=meta["wall_s"],
        fingerprint=meta["images"],
        codes=tuple(meta["codes"]),
    )
