"""Every figure of the book: functions of tidy data that return a matplotlib figure, in one style.

Figures are grouped by chapter in submodules and reached as `figures.<name>`.
"""

from patchscape.figures.architecture import (
    block_structure,
    circuit_rows,
    coverage,
    forward_pass,
    overview,
    patches_on_image,
)
from patchscape.figures.beyond import against_noise, from_shots
from patchscape.figures.bound import (
    block_matrix,
    bound_against_measured,
    coherence,
    factors,
    kappa_by_kind,
    proof_slack,
    published_collapse,
    scaling_law,
    trace_as_expected,
)
from patchscape.figures.controls import (
    bound_stored,
    checkpoint_and_refined,
    gaps_and_classes,
    gaps_by_classes,
    generalisation,
    runs_against,
    with_published,
)
from patchscape.figures.hessian import (
    lambda_against_patches_and_depth,
    lambda_rescaled,
    not_converged,
    replay,
)
from patchscape.figures.landscapes import (
    common_window,
    common_window_3d,
    explained_stored,
    four_directions,
    hidden_by_the_plane,
    kinds_of_planes,
    quadratic_model,
    snapshot_ensembles,
    start_and_other_minima,
)
from patchscape.figures.spectrum import (
    cumulative_density,
    density_and_rank,
    eigenvector_overlap,
    outliers_against_classes,
    parts,
    where_eigenvectors_live,
)
from patchscape.figures.speed import block_idea, cost_model, time_against
from patchscape.figures.style import colour, save, use_style
from patchscape.figures.training import (
    explained,
    path_against_plane,
    published_curves,
    quick_curves,
    random_surface,
    surfaces,
    whole_runs,
)

__all__ = [
    "against_noise",
    "block_idea",
    "block_matrix",
    "block_structure",
    "bound_against_measured",
    "bound_stored",
    "checkpoint_and_refined",
    "circuit_rows",
    "coherence",
    "colour",
    "common_window",
    "common_window_3d",
    "cost_model",
    "coverage",
    "cumulative_density",
    "density_and_rank",
    "eigenvector_overlap",
    "explained",
    "explained_stored",
    "factors",
    "forward_pass",
    "four_directions",
    "from_shots",
    "gaps_and_classes",
    "gaps_by_classes",
    "generalisation",
    "hidden_by_the_plane",
    "kappa_by_kind",
    "kinds_of_planes",
    "lambda_against_patches_and_depth",
    "lambda_rescaled",
    "not_converged",
    "outliers_against_classes",
    "overview",
    "parts",
    "patches_on_image",
    "path_against_plane",
    "proof_slack",
    "published_collapse",
    "published_curves",
    "quadratic_model",
    "quick_curves",
    "random_surface",
    "replay",
    "runs_against",
    "save",
    "scaling_law",
    "snapshot_ensembles",
    "start_and_other_minima",
    "surfaces",
    "time_against",
    "trace_as_expected",
    "use_style",
    "where_eigenvectors_live",
    "whole_runs",
    "with_published",
]
