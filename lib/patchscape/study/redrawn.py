"""The null model of a stored minimum: what its Gauss-Newton matrix would be if the blocks had not been trained.

The blocks' angles are drawn anew, by the law of the start; depth, images, the angles of the encodings, the shared bias
and the model's predictions stay. What then differs from the trained blocks is what training has made of them. The start
of the same seed is looked at too: how far the angles have moved from it, and what that has done to the derivatives.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from patchscape.circuit import ansatz
from patchscape.circuit.derivatives import circuit_jacobian
from patchscape.config import ModelConfig
from patchscape.curvature import estimates, exact, full_data, measures
from patchscape.learning import model
from patchscape.numerics import spectra
from patchscape.store import files, records
from patchscape.store.columns import LEADING, TOP
from patchscape.store.grids import Job
from patchscape.study import by_seed, jobs

DRAWS = 5  # ours
IMAGES = 300  # ours: as many as the laptop grid has


class Jacobians(NamedTuple):
    """First derivatives of all circuits for some images.

    Attributes:
        phi: (N, K, n, m) of the logits, with respect to the circuits' angles.
        bias: (N, K, side^2), with respect to the shared bias; None without one.
    """

    phi: np.ndarray
    bias: np.ndarray | None


def make(
    job: Job,
    run_folder: str | Path,
    out: str | Path,
    seeds: Sequence[int] | None = None,
    *,
    draws: int = DRAWS,
    images: int = IMAGES,
    progress: bool = False,
) -> Path:
    """Measures trained, initial and redrawn blocks at the minima of a trained job; stored seeds are left alone.

    Args:
        job: the job.
        run_folder: where its run file is.
        out: folder of the files.
        seeds: which seeds; None is all of them.
        draws: of the blocks.
        images: use at most so many training images, those with the largest impurity. The Gauss-Newton matrix is then
            the part of the mean over all images that they make, which `impurity_kept` is the share of.
        progress: show a progress bar.

    Returns:
        The file, rewritten whole after every seed; see `data/results/README.md`.

    Raises:
        ValueError: if the job has not been trained or has no such seed, or a file is damaged or of another run.
    """
    cfg = job.run.model

    def prepare(record: records.Record) -> Callable[[int], by_seed.Columns]:
        data = jobs.images_of(record)
        loss = full_data.FullDataLoss(cfg, data.train_angles, data.train_labels)

        def of_seed(number: int) -> by_seed.Columns:
            params = files.minimum(record, number)
            probabilities = loss.probabilities(model.flatten(params))
            used, kept = estimates.least_certain(probabilities, images)
            seed, angles = record.meta["seeds"][number], data.train_angles[used]
            columns = at(cfg, params, seed, angles, probabilities[used], draws, of=len(probabilities))
            return columns | ({"impurity_kept": np.array(kept)} if len(used) < len(probabilities) else {})

        return of_seed

    return by_seed.extend(
        "redrawn", job, run_folder, out, seeds, prepare, progress=progress, draws=draws, images=images
    )


def at(
    cfg: ModelConfig,
    params: model.Params,
    seed: int,
    angles: np.ndarray,
    probabilities: np.ndarray,
    draws: int,
    of: int | None = None,
) -> dict[str, np.ndarray]:
    """Measures trained, initial and redrawn blocks at one minimum.

    Args:
        cfg: the model.
        params: at the minimum.
        seed: of the run, which sets its start; the redrawn blocks are drawn from a generator with this seed too.
        angles: (N, side, side) in rad.
        probabilities: (N, C), the model's at the minimum: those of every row.
        draws: number of draws D.
        of: the mean is over so many images, of which those given are all that count; None: over those given.

    Returns:
        Columns as `measure` has them, with a leading axis: trained, start, D redrawn.
    """
    here = {name: np.asarray(value) for name, value in params.items()}
    start = {name: np.asarray(value) for name, value in model.init(cfg, seed).items()}
    rng, rows = np.random.default_rng(seed), [here, start]
    for _ in range(draws):
        rows.append(here | {"phi": with_new_blocks(cfg, here["phi"], rng)})
    trained, found = jacobians(cfg, here, angles), []
    for number, row in enumerate(rows):
        derivatives = jacobians(cfg, row, angles) if number else trained
        moved = np.sqrt(np.mean(np.square(row["phi"] - here["phi"])))
        columns = measure(cfg, derivatives, probabilities, of) | alignment(derivatives, trained)
        found.append(columns | {"distance": moved})
    return {name: np.stack([columns[name] for columns in found]) for name in found[0]}


def with_new_blocks(cfg: ModelConfig, phi: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns phi (n, m) with the angles of the blocks drawn as at the start, uniform in [0, pi); encodings stay."""
    blocks, _ = ansatz.split_angles(cfg, np.arange(cfg.n_params_per_qnn))
    phi = phi.copy()
    own = np.concatenate([block.ravel() for block in blocks])
    phi[:, own] = rng.uniform(0, np.pi, (len(phi), len(own)))
    return phi


def jacobians(cfg: ModelConfig, params: model.Params, angles: np.ndarray) -> Jacobians:
    """Computes the derivatives of the logits for images (N, side, side) in rad."""
    m, side = cfg.n_params_per_qnn, cfg.image_side
    patches, pixels = np.asarray(model.shifted_patches(cfg, params, angles)), model.patch_pixels(cfg)
    of_phi = np.zeros((len(angles), cfg.n_classes, cfg.n_patches, m), np.float32)
    of_bias = np.zeros((len(angles), cfg.n_classes, side**2), np.float32) if cfg.shared_bias else None
    for p, (phi, patch) in enumerate(zip(params["phi"], patches, strict=True)):
        jacobian = cfg.factor * circuit_jacobian(cfg, np.asarray(phi, np.float32))(patch)
        of_phi[:, :, p] = jacobian[..., :m]
        if of_bias is not None:
            of_bias[..., pixels[p]] += jacobian[..., m:]
    return Jacobians(of_phi, of_bias)


def measure(
    cfg: ModelConfig, found: Jacobians, probabilities: np.ndarray, of: int | None = None
) -> dict[str, np.ndarray]:
    """Measures the Gauss-Newton matrix G = X^T X of the mean cross-entropy for given derivatives and predictions.

    Args:
        cfg: the model.
        found: derivatives.
        probabilities: (N, C).
        of: the mean is over so many images; None is N.

    Returns:
        Columns: `eigenvalues` and `eigenvalues_phi` (TOP,), the largest of G on all parameters and on phi;
        `gauss_newton_blocks` (n,), the largest of each circuit's block; `gauss_newton_bias`, the largest on the bias;
        `trace_phi` and `trace_bias`. All in nats per rad^2; NaN on the bias without one.
    """
    root = (exact.root(probabilities) / np.sqrt(of or len(probabilities))).astype(np.float32)
    rows = len(probabilities) * cfg.n_classes
    phi = np.matmul(root, found.phi.reshape(*found.phi.shape[:2], -1)).reshape(rows, cfg.n_patches, -1)
    bias = None if found.bias is None else np.matmul(root, found.bias).reshape(rows, -1)
    blocks = [np.linalg.eigvalsh(phi[:, p].T.astype(float) @ phi[:, p])[-1] for p in range(cfg.n_patches)]
    flat = phi.reshape(rows, -1)
    parts = (flat,) if bias is None else (flat, bias)
    return {
        "eigenvalues": _largest(parts),
        "eigenvalues_phi": _largest((flat,)),
        "gauss_newton_blocks": np.array(blocks),
        "gauss_newton_bias": np.array(np.nan if bias is None else np.linalg.norm(bias, 2) ** 2),
        "trace_phi": np.sum(np.square(flat, dtype=float)),
        "trace_bias": np.array(np.nan if bias is None else np.sum(np.square(bias, dtype=float))),
    }


def _largest(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Largest eigenvalues of X X^T, which are those of G, for X in parts side by side."""

    def product(v: np.ndarray) -> np.ndarray:
        v = v.astype(np.float32)
        return sum((part @ (part.T @ v)).astype(float) for part in parts)

    size = len(parts[0])
    krylov = spectra.lanczos(product, size, seed=0, max_steps=min(size, 80), top=min(LEADING, size), tol=1e-4)
    return measures.filled(krylov.values[0, :TOP], TOP)


def alignment(found: Jacobians, other: Jacobians) -> dict[str, np.ndarray]:
    """Compares derivatives on phi with others, angle by angle and by the kernel that they make.

    Args:
        found: derivatives.
        other: derivatives at other angles, for the same images.

    Returns:
        `jacobian_cosine`, between the two as vectors, and `kernel_alignment`, between their centred tangent kernels
        (N, N), summed over classes {cite}`cortes2012algorithms`; both 1 for equal ones.
    """

    def kernel(jacobian: np.ndarray) -> np.ndarray:
        flat = jacobian.reshape(*jacobian.shape[:2], -1)
        whole = sum(flat[:, k] @ flat[:, k].T for k in range(flat.shape[1])).astype(float)
        return whole - whole.mean(0) - whole.mean(1)[:, None] + whole.mean()

    def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = a.ravel().astype(float), b.ravel().astype(float)
        return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))

    return {
        "jacobian_cosine": cosine(found.phi, other.phi),
        "kernel_alignment": cosine(kernel(found.phi), kernel(other.phi)),
    }
