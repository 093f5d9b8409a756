"""Every figure of the book: functions of tidy data that return a matplotlib figure, in one style.

Figures are grouped by chapter in submodules and reached as `figures.<name>`.
"""

from patchscape.figures.architecture import (
    block_structure,
    circuit_rows,
    forward_pass,
    overview,
    patches_and_coverage,
)
from patchscape.figures.beyond import against_noise, from_shots
from patchscape.figures.bound import (
    REDRAWN,
    against_redrawn,
    as_expected,
    block_matrix,
    bound_against_measured,
    coherence,
    factors,
    kappa_by_kind,
    proof_slack,
    published_collapse,
    scaling_law,
)
from patchscape.figures.controls import (
    at_equal_losses,
    bound_stored,
    checkpoint_and_refined,
    generalisation,
    runs_against,
    with_published,
)
from patchscape.figures.front import main_result
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
    start_and_other_minima,
)
from patchscape.figures.paper_size import (
    against_published,
    densities,
    depth_and_patches,
    whole_gauss_newton,
    whole_runs,
)
from patchscape.figures.spectrum import (
    cumulative_density,
    density_and_rank,
    eigenvector_overlap,
    expected_outliers,
    gaps_and_classes,
    gaps_by_classes,
    outliers_against_classes,
    parts,
    where_eigenvectors_live,
)
from patchscape.figures.speed import block_idea, cost_model, eigenvalue_stability, time_against
from patchscape.figures.style import colour, save, use_style
from patchscape.figures.training import (
    published_curves,
    quick_curves,
    surfaces,
)

__all__ = [
    "REDRAWN",
    "against_noise",
    "against_published",
    "against_redrawn",
    "as_expected",
    "at_equal_losses",
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
    "cumulative_density",
    "densities",
    "density_and_rank",
    "depth_and_patches",
    "eigenvalue_stability",
    "eigenvector_overlap",
    "expected_outliers",
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
    "main_result",
    "not_converged",
    "outliers_against_classes",
    "overview",
    "parts",
    "patches_and_coverage",
    "proof_slack",
    "published_collapse",
    "published_curves",
    "quadratic_model",
    "quick_curves",
    "replay",
    "runs_against",
    "save",
    "scaling_law",
    "start_and_other_minima",
    "surfaces",
    "time_against",
    "use_style",
    "where_eigenvectors_live",
    "whole_gauss_newton",
    "whole_runs",
    "with_published",
]
