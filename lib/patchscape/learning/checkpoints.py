"""The state of a training that goes on from epoch to epoch, and the files that it can be continued from.

The path of phi is the large part of it, and the one that can be missed: it lies in a file of its own, in the folder
`large` beside the other. If that is lost, so is the path, and nothing else.
"""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from patchscape.learning import model
from patchscape.store import records


class State(NamedTuple):
    """A training of S seeds after some epochs; arrays have a leading axis of seeds, lists have one item per epoch.

    Attributes:
        params: now.
        moments: state of the optimiser.
        best: parameters at the least training loss so far.
        epoch_of_best: (S,); -1 before the first.
        history: name of a curve -> its values.
        path: phi at the start and, if it is kept, after every epoch; None if a part of it was lost.
        snapshot_logits: (S, n_test, C), sum over the snapshots so far.
        wall: seconds spent.
        codes: versions of the code that took part.
    """

    params: model.Params
    moments: optax.OptState
    best: model.Params
    epoch_of_best: np.ndarray
    history: dict[str, list[np.ndarray]]
    path: list[np.ndarray] | None
    snapshot_logits: np.ndarray
    wall: float
    codes: tuple[str, ...]


def start(
    params: model.Params, moments: optax.OptState, curves: Iterable[str], logits: tuple[int, int], code: str
) -> State:
    """Returns the state before the first epoch.

    Args:
        params: initial parameters.
        moments: of the optimiser at these parameters.
        curves: names of the values that every epoch adds, `train_loss` among them.
        logits: (n_test, C).
        code: version of the code.

    Returns:
        The state, with empty curves.
    """
    n_seeds = len(params["phi"])
    return State(
        params=params,
        moments=moments,
        best=params,
        epoch_of_best=np.full(n_seeds, -1),
        history={name: [] for name in curves},
        path=[np.asarray(params["phi"])],
        snapshot_logits=np.zeros((n_seeds, *logits), np.float32),
        wall=0.0,
        codes=(code,),
    )


def advance(
    state: State, epoch: int, params: model.Params, moments: optax.OptState, values: dict[str, np.ndarray]
) -> State:
    """Returns the state after one more epoch.

    Args:
        state: before it.
        epoch: its number, from 0.
        params: after it.
        moments: after it.
        values: one item for every curve.

    Returns:
        The state, with the best parameters replaced for every seed whose training loss is its least so far.
    """
    earlier = np.min(state.history["train_loss"], axis=0) if state.history["train_loss"] else np.inf
    better = values["train_loss"] < earlier

    def of_each_seed(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return state._replace(
        params=params,
        moments=moments,
        best=jax.tree.map(of_each_seed, params, state.best),
        epoch_of_best=np.where(better, epoch, state.epoch_of_best),
        history={name: [*kept, values[name]] for name, kept in state.history.items()},
    )


def path_file(checkpoint: str | Path) -> Path:
    """Returns where the path of phi of a checkpoint lies."""
    return Path(checkpoint).parent / "large" / Path(checkpoint).name


def save(path: str | Path, state: State, meta: dict[str, Any]) -> None:
    """Writes a state, in place of the one that the file held, and the path of phi beside it if it is kept.

    Args:
        path: the file.
        state: to be kept.
        meta: `identity` of the run, with `keep_trajectory`, and `provenance`.
    """
    # The path first: one that is longer than the state says is cut, one that is too short is lost.
    if meta["identity"]["keep_trajectory"] and state.path is not None:
        records.write(path_file(path), {"path": np.stack(state.path)}, {"identity": meta["identity"]})
    arrays = {name: np.stack(value) for name, value in state.history.items()}
    arrays |= {"epoch_of_best": state.epoch_of_best, "snapshot_logits": state.snapshot_logits}
    leaves = jax.tree.leaves((state.params, state.moments, state.best))
    arrays |= {f"state_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    records.write(path, arrays, meta | {"wall_s": state.wall, "codes": list(state.codes)})


def remove(path: str | Path) -> None:
    """Removes a checkpoint and its path of phi, as far as they are there."""
    Path(path).unlink(missing_ok=True)
    path_file(path).unlink(missing_ok=True)


def restore(path: str | Path, identity: dict[str, Any], fresh: State) -> State:
    """Reads a state.

    Args:
        path: a file that `save` has written.
        identity: of the run that is to be continued.
        fresh: its state before the first epoch.

    Returns:
        The state that the file holds.

    Raises:
        ValueError: if the file is damaged or belongs to another run.
    """
    arrays, meta = records.read(path)
    if meta.get("identity") != identity:
        raise ValueError(f"{path} belongs to another run: delete it or name another checkpoint.")
    leaves, structure = jax.tree.flatten((fresh.params, fresh.moments, fresh.best))
    leaves = [jnp.asarray(arrays[f"state_{i}"]) for i in range(len(leaves))]
    params, moments, best = jax.tree.unflatten(structure, leaves)
    history = {name: list(arrays[name]) for name in fresh.history}
    walked = fresh.path
    if identity["keep_trajectory"]:
        walked = _path(path_file(path), identity, len(history["train_loss"]) + 1)
    return State(
        params=params,
        moments=moments,
        best=best,
        epoch_of_best=arrays["epoch_of_best"],
        history=history,
        path=walked,
        snapshot_logits=arrays["snapshot_logits"],
        wall=meta["wall_s"],
        codes=tuple(dict.fromkeys([*meta["codes"], *fresh.codes])),
    )


def _path(path: Path, identity: dict[str, Any], size: int) -> list[np.ndarray] | None:
    """The first points of a kept path of phi, or None with a warning if there are not so many."""
    if path.exists():
        arrays, meta = records.read(path)
        if meta["identity"] == identity and len(arrays["path"]) >= size:
            return list(arrays["path"][:size])
    warnings.warn(f"{path} is missing or too short: this run will have no trajectory.", stacklevel=3)
    return None
