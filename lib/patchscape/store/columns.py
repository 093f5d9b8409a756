"""What the arrays of result files are: names, shapes, units and meaning, and numbers that makers and readers share.

A shape leaves out the leading axis, that of seeds. Its letters: n circuits of m angles each, P parameters in all,
images of side x side pixels and E epochs follow from the configuration; other letters stand for any number, the same
for all arrays of a file.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from patchscape.config import RunConfig

TOP = 20  # ours: eigenvalues kept of each Hessian
LEADING = 12  # ours: eigenvalues that must converge, more than C = 10; the others come with their residuals

BLOCKS = ("trained", "start")  # the first rows of a file of redrawn blocks; the draws follow

# Where the loss is taken along lines, in files of landscapes.
LINE = np.linspace(-2, 2, 81)  # ours: rad, along single directions
BETWEEN = np.linspace(0, 1, 25)  # ours: from one minimum to another
FROM_START = np.linspace(-0.2, 1.2, 57)  # ours: 0 is the start, 1 the minimum
POINTS = 25  # ours: along each side of a plane; the author has 20
LINES = ("top eigenvector", "PC1", "PC2", "random")

Kind = Literal["run", "curvature", "spectrum", "landscape", "redrawn", "matched", "beyond"]
REFINED = "refined_"  # before the name of what was measured again at the refined point


class Column(NamedTuple):
    """One array of a result file, or several that are alike.

    Attributes:
        names: of the arrays.
        shape: of each, without the axis of seeds: numbers, or sums of letters and their products, as "E + 1" and "n m".
            "once" in front: the file has it once, without that axis.
        unit: "1" for what has none.
        meaning: in words; Markdown.
    """

    names: tuple[str, ...]
    shape: tuple[str, ...]
    unit: str
    meaning: str


def _columns(text: str) -> tuple[Column, ...]:
    """Reads lines of "names | shape | unit | meaning"; one that begins with a space continues the line before it."""
    rows = ([cell.strip() for cell in line.split("|")] for line in text.strip().replace("\n  ", " ").splitlines())
    split = lambda cell: tuple(part.strip() for part in cell.split(",")) if cell else ()  # noqa: E731
    return tuple(Column(split(names), split(shape), unit, meaning) for names, shape, unit, meaning in rows)


SCHEMA: dict[Kind, tuple[Column, ...]] = {
    "run": _columns("""
batch_loss | E, B | nats | loss of each batch before its step
train_loss, test_loss | E | nats | loss over all images at the end of each epoch
train_accuracy, test_accuracy | E | 1 | share of right answers
minimum_epoch | | 1 | epoch, from 0, with the least training loss; -1 if there is none
minimum/phi | n, m | rad | angles there
minimum/bias | side, side | rad | shared bias there
ensemble_test_loss | | nats | of the mean of the logits over the epochs in which the learning rate is zero (a snapshot
  ensemble); only in files of newer code
ensemble_test_accuracy | | 1 | likewise
pca_ratios | 10 | 1 | shares of variance of the trajectory (start and every epoch) along its principal components
pca_coordinates | E + 1, 2 | rad | trajectory in the plane of the first two
pca_distances | E + 1 | rad | its distance from that plane
pca_directions | 2, n m | 1 | the first two principal components (`paper` only, in files of newer code)
trajectory | E + 1, n, m | rad | phi at the start and after every epoch (`replay`, runs of chapter 6 in `chapters`,
  and `paper` in files of older code)
final/phi | n, m | rad | angles after the last epoch (runs of chapter 6 in `chapters`)
final/bias | side, side | rad | shared bias after it
"""),
    "curvature": _columns(f"""
train_loss, test_loss | | nats | at the minimum, over all images, in double precision from single-precision logits
train_accuracy, test_accuracy | | 1 | likewise
lambda_max, lambda_min | | nats/rad² | ends of the Hessian's spectrum
lambda_max_residual, lambda_min_residual, lambda_max_phi_residual, gauss_newton_residual, gauss_newton_phi_residual,
  gauss_newton_bias_residual | | nats/rad² | residual of the eigenvalue of that name
eigenvalues, eigenvalue_residuals | {TOP} | nats/rad² | largest eigenvalues; the first {LEADING} were asked to
  converge to 1e-3 of the largest, the others are as good as their residuals
ritz_values | T | nats/rad² | nodes of a quadrature of the spectral density from one random start; T products were
  allowed, 60, for `leading` 50 and for `top` 40
ritz_weights | T | 1 | its weights
gradient_norm | | nats/rad | length of the gradient
gradient_overlap | {TOP} | 1 | squared cosine between the gradient and each eigenvector
vector_shares | {TOP}, n + 1 | 1 | share of each eigenvector that lies on each circuit; the last is the bias
class_mean_overlap | {TOP} | 1 | squared length of its projection onto the span of the class-mean gradients
gauss_newton_share | {LEADING} | 1 | v G v / v H v
gauss_newton | | nats/rad² | largest eigenvalue of the Gauss-Newton matrix G
lambda_max_phi, gauss_newton_phi, gauss_newton_bias | | nats/rad² | of H and G on phi alone, of G on the bias alone
gauss_newton_blocks, residual_blocks | n | nats/rad² | of each circuit's block of G and of R = H - G
gauss_newton_blocks_residual, residual_blocks_residual | n | nats/rad² | their residuals
block_norms | n, n | nats/rad² | spectral norms of the blocks of H from its leading eigenvectors
block_norms_error | | nats/rad² | a bound of the error of each
trace, trace_error | | nats/rad² | trace of H and its standard error (0: exact, from the dense matrix; otherwise
  Hutchinson's estimate from 6 sign vectors)
impurity | | 1 | mean over images of 1 - sum of the squared probabilities, the trace of the Hessian of the loss in the
  logits
gauss_newton_trace_phi, gauss_newton_trace_bias | | nats/rad² | traces of G on phi and on the bias
gauss_newton_trace_phi_error | | nats/rad² | standard error of the former (0: exact; otherwise from 16 vectors of
  random signs)
expected_phi, expected_all | {TOP} | nats/rad² | largest eigenvalues of G on phi, and on all parameters, that the
  estimate E2 expects, from the predictions, the encodings and the images
expected_gauss_newton | {TOP} | nats/rad² | in older files, beside `expected_phi`: the same by a formula that took
  angles inside the encodings for angles of blocks (too large by at most 1.4 percent); nothing reads it
expected_kept | | 1 | share of the impurity that belongs to the images used for it (all up to 4,000)
all_eigenvalues, all_gauss_newton, all_residual | P | nats/rad² | every eigenvalue of H, G and R, for models of up to
  2500 parameters
density_hessian_values | 3, D | nats/rad² | nodes of quadratures of the spectral density of H from three random
  starts, D = 30 each, over the first `density_images` training images (`paper` only)
density_hessian_weights | 3, D | 1 | their weights
density_gauss_newton_values | 3, D | nats/rad² | of G, likewise
density_gauss_newton_weights | 3, D | 1 | their weights
density_images | | 1 | number of these images
n_products | | 1 | Hessian products used for the spectrum
refine_steps | | 1 | steps of Adam on all images after the checkpoint
refine_fall | | 1 | how many times the gradient norm fell
"""),
    "spectrum": _columns("""
all_gauss_newton | P | nats/rad² | of G over all training images
all_gauss_newton_phi | n m | nats/rad² | of its block on phi
all_hessian | P | nats/rad² | of H = G + R, with R summed over the `residual_images` images that the model has most
  wrong
residual_images | | 1 | their number
residual_share | | 1 | their share of the sum of the sizes of softmax(z) - e_y over all images
gauss_newton_values, gauss_newton_phi_values, hessian_values | 3, D | nats/rad² | nodes of Lanczos quadratures of the
  same matrices, from three random starts, D = 30 each
gauss_newton_weights, gauss_newton_phi_weights, hessian_weights | 3, D | 1 | their weights
"""),
    "landscape": _columns(f"""
pca_wide/loss, pca_near/loss, pca_author/loss | {POINTS}, {POINTS} | nats | losses on the plane of the path's first
  two principal components, bias frozen, rows along the second direction: 20 rad and 4 rad wide, and the author's
  window, 5 rad beyond the path
pca_wide/axes, pca_near/axes, pca_author/axes | 2, {POINTS} | rad | the positions along the first and the second
  direction
eigen/loss | {POINTS}, {POINTS} | nats | losses on the plane of the two top eigenvectors of the Hessian, 2 rad wide
eigen/axes | 2, {POINTS} | rad | the positions
random_0/loss, random_1/loss | {POINTS}, {POINTS} | nats | losses on planes of filter-normalised random directions
random_0/axes, random_1/axes | 2, {POINTS} | 1 | the positions, in lengths of the angles
random_0/lengths, random_1/lengths | 2 | rad | that length along either direction
coordinates | E + 1, 2 | rad | path in the plane of its components
explained | 2 | 1 | their shares of variance
distance | E + 1 | rad | distance of the path from the plane
step_outside | E | 1 | share of each epoch's squared step outside that plane; NaN without a step
path_loss, projected_loss | E + 1 | nats | loss along the path and at its projection, bias frozen
eigenvalues | 2 | nats/rad² | of the two top eigenvectors
slopes | 2 | nats/rad | the gradient along them
{", ".join(f"line/{name}" for name in LINES)} | {len(LINE)} | nats | loss from -2 to 2 rad along the top eigenvector,
  the two components and a random direction
from_start | {len(FROM_START)} | nats | loss on the line from the start (0) to the minimum (1), from -0.2 to 1.2
between, between_shortest | O, {len(BETWEEN)} | nats | loss on the line to the minimum of each of the O other seeds
  that has one: straight, and the short way round for each angle
wrapped | O | 1 | share of angles for which the two differ
apart | O | rad | distance the short way
retrained_difference | | rad | largest difference of an angle between the stored minimum and the seed trained again
"""),
    "redrawn": _columns(f"""
eigenvalues, eigenvalues_phi | R, {TOP} | nats/rad² | largest eigenvalues of G on all parameters, and on phi; the
  first {LEADING} with residuals of at most 1e-4 of the first
gauss_newton_blocks | R, n | nats/rad² | largest eigenvalue of each circuit's block of G
gauss_newton_bias | R | nats/rad² | largest eigenvalue of G on the bias
trace_phi, trace_bias | R | nats/rad² | traces of G on phi and on the bias
jacobian_cosine | R | 1 | between the derivatives on phi and those of the trained blocks, as vectors
kernel_alignment | R | 1 | between their centred tangent kernels, summed over classes
distance | R | rad | root mean square of the differences of the angles from the trained ones
impurity_kept | | 1 | where images are left out: share of the impurity of all that those used have
"""),
    "matched": _columns("""
epoch | L | 1 | the end of which is nearest to the preset loss, from 0; -1: the run does not get there
train_loss | L | nats | there, over all training images
lambda_max, lambda_max_phi | L | nats/rad² | largest eigenvalues of H there, on all parameters and on phi
lambda_max_residual, lambda_max_phi_residual | L | nats/rad² | their residuals
impurity | L | 1 | mean Gini impurity of the probabilities
expected_lambda_max, expected_phi | L | nats/rad² | largest eigenvalue of G that E2 expects, and on phi
"""),
    "beyond": _columns("""
n_patches, angles, seed | | 1 | the run: patches, angles or weights of one function, and seed of the start
noise | | 1 | depolarising probability
train_loss | | nats | over all training images where training ends
accuracy | | 1 | likewise
lambda_max, residual | | nats/rad² | largest eigenvalue of the Hessian there, and the norm of Hv - lambda v; for `tanh`
  per squared weight
phi | once, n, m | rad | the angles where the run without noise, of seed 0 and the most patches, ends (`noisy` only)
"""),
}

# What `tables.runs.table` adds to the configuration and to the columns that are one number for each seed.
TABLE = _columns("""
grid, job, seed | | | where the run is stored, and which it is
angles, n_params, max_coverage | | 1 | m, P, and the largest number of circuits that see one pixel
factor | | 1 | weight of one circuit in the logits
epoch | | 1 | `minimum_epoch`
diverged | | | whether the loss was not finite after some epoch
pca_1, pca_2 | | 1 | the first two of `pca_ratios`
training_s, curvature_s | | s | time for training and for measuring, a seed's share
code, curvature_code, device, created | | | provenance
lambda_max_residual_of_lanczos | | nats/rad² | see above
outlier_sum | | nats/rad² | the C - 1 largest eigenvalues added up
expected_lambda_max | | nats/rad² | first of `expected_all`: largest eigenvalue of G that E2 expects
expected_phi | | nats/rad² | first of `expected_phi`: the same on phi, where blocks of G were measured
expected_upper | | nats/rad² | upper bound of its mean on phi by matrix Chernoff, if no block of G can exceed the
  largest measured one
coherence | | 1 | largest eigenvalue of G on phi over the sum of those of its blocks
weyl | | nats/rad² | largest eigenvalues of G and R on phi added up
t1, t1_uniform, t2_a_priori | | nats/rad² | right-hand side of theorem T1, and the weaker forms of the bound
scaled | | nats/rad² | lambda_max n / (1 - exp(-train_loss))
""")


def known(kind: Kind) -> dict[str, Column]:
    """Returns every array that a result file of a kind may hold, by its name."""
    found = {name: column for column in SCHEMA[kind] for name in column.names}
    if kind == "curvature":
        again = (name for name in found if not name.startswith(("refine", "density", "expected_gauss")))
        found |= {f"{REFINED}{name}": found[name] for name in tuple(again)}
    return found


def check(kind: Kind, arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Refuses arrays that are not as the schema has them. None of them has to be there.

    Args:
        kind: of result file.
        arrays: by name, each with a leading axis of seeds unless the schema says otherwise.
        meta: of the file, with `run` and `seeds`; without, the axis of seeds is one of runs of several models.

    Raises:
        ValueError: if a name is unknown, or a shape does not fit the configuration, the seeds or the other arrays.
    """
    schema, sizes = known(kind), {"S": len(meta["seeds"])} if "seeds" in meta else {}
    if "run" in meta:
        run = RunConfig(**meta["run"])
        cfg = run.model
        sizes |= {"n": cfg.n_patches, "m": cfg.n_params_per_qnn, "P": cfg.n_params}
        sizes |= {"side": cfg.image_side, "E": run.train.epochs}
    for name, value in arrays.items():
        if name not in schema:
            raise ValueError(f"no column '{name}' in a {kind} file: describe it in patchscape.store.columns.")
        wanted, shape = ("S", *schema[name].shape), np.shape(value)
        if wanted[1:2] == ("once",):
            wanted = wanted[2:]
        for dim, size in zip(wanted, shape, strict=False):
            if dim.isalpha():
                sizes.setdefault(dim, size)
        if shape != tuple(_size(dim, sizes) for dim in wanted):
            raise ValueError(
                f"column '{name}' of a {kind} file has shape {shape}: it should be ({', '.join(wanted)}) with "
                f"{', '.join(f'{dim} = {size}' for dim, size in sizes.items())}."
            )


def _size(dim: str, sizes: Mapping[str, int]) -> int:
    """Value of "25", "n" or "n m + 1"."""
    terms = ([int(word) if word.isdigit() else sizes.get(word, -1) for word in term.split()] for term in dim.split("+"))
    return sum(int(np.prod(term)) for term in terms)


def markdown(columns: tuple[Column, ...]) -> str:
    """Returns a table for data/results/README.md, with shapes if any column has one."""
    shapes = any(column.shape for column in columns)
    rows = [
        "array | shape after seeds | what | unit" if shapes else "column | what | unit",
        " | ".join(["---"] * (3 + shapes)),
    ]
    for column in columns:
        cells = [", ".join(f"`{name}`" for name in column.names), column.meaning, column.unit]
        if shapes:
            cells.insert(1, f"({', '.join(column.shape)})" if column.shape else "")
        rows.append(" | ".join(cells))
    return "".join(f"| {row} |\n" for row in rows)


def with_tables(text: str) -> str:
    """Renews the tables of data/results/README.md: the one after each line `<!-- columns: KIND -->`."""
    made = {str(name): markdown(columns) for name, columns in SCHEMA.items()} | {"table": markdown(TABLE)}
    old = r"(<!-- columns: (\w+) -->\n\n)(?:\|.*\n)*"
    return re.sub(old, lambda found: found.group(1) + made[found.group(2)], text)
