"""The explorer: one interactive view of the stored laptop grid, a fragment of HTML that needs nothing beside it.

Everything (data, style, script) is inside the fragment, so that it works from the file system without a network, in a
page of the book and as a file of its own.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from patchscape import tables
from patchscape.figures.style import colour

GRIDS = ("pca_wide", "pca_near", "pca_author", "eigen", "random_0", "random_1")
_STEPS = 1000  # a stored height is log10(loss), in thousandths: a factor of 1.0023 in the loss


def collect(runs: Any = None, landscapes: Mapping | None = None) -> dict[str, Any]:
    """Gathers what the explorer shows; the same results give the same data.

    Args:
        runs: items as from `tables.runs.read`; default is the stored laptop grid.
        landscapes: as from `tables.landscapes.read`; default is what is stored.

    Returns:
        Plain JSON data, NaN as null: one entry of `runs` per configuration, sorted by n and depth.

    Raises:
        ValueError: if no run is stored.
    """
    runs = list(tables.runs.read("laptop") if runs is None else runs)
    if not runs:
        raise ValueError("no run of the laptop grid is stored: `patchscape grid laptop` lists what to run.")
    landscapes = tables.landscapes.read() if landscapes is None else landscapes
    runs.sort(key=lambda item: (item.run.model.n_patches, item.run.model.depth))
    return {"runs": [_entry(item, landscapes) for item in runs], "n_train": runs[0].run.n_train}


def fragment(data: Mapping[str, Any]) -> str:
    """Returns the explorer as HTML to be put into a page.

    Args:
        data: from `collect`.

    Returns:
        Markup, style, data and script.
    """
    assets = files("patchscape.book") / "assets"
    names = ("explorer.html", "explorer.css", "plots.js", "explorer.js")
    html, css, tools, script = ((assets / name).read_text(encoding="utf-8") for name in names)
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return (
        f"<style>\n{css}</style>\n{html}"
        f'<script type="application/json" id="explorer-data">{text}</script>\n<script>\n{tools}{script}</script>\n'
    )


def page(data: Mapping[str, Any]) -> str:
    """Returns the explorer as an HTML file of its own.

    Args:
        data: from `collect`.

    Returns:
        The whole file.
    """
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    style = "<style>body{margin:1rem auto;max-width:64rem;padding:0 1rem;font-family:system-ui,sans-serif}</style>"
    title = "Explorer of loss landscapes"
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>{title}</title>{style}</head>\n'
        f'<body class="explorer-alone"><main><h1>{title}</h1>\n{fragment(data)}</main></body></html>\n'
    )


def _entry(item: tables.runs.Stored, landscapes: Mapping) -> dict[str, Any]:
    cfg, arrays = item.run.model, item.record.arrays
    found = item.curvature.arrays if item.curvature is not None else {}
    seeds = item.record.meta["seeds"]
    entry = {
        "n": cfg.n_patches,
        "d": cfg.depth,
        "colour": colour(cfg.n_patches),
        "params": cfg.n_params,
        "angles": cfg.n_params_per_qnn,
        "seeds": seeds,
        "epoch": arrays["minimum_epoch"].tolist(),
        "pca": _rounded(arrays["pca_ratios"][:, :2]),
        "views": {},
    }
    entry |= {name: _rounded(arrays[name]) for name in ("train_loss", "test_loss", "test_accuracy")}
    for name in ("lambda_max", "lambda_min", "gradient_norm", "eigenvalues", "all_eigenvalues"):
        entry[name] = _rounded(found[name]) if name in found else None
    entry["expected"] = _rounded(found["expected_all"]) if "expected_all" in found else None
    if record := landscapes.get((cfg.n_patches, cfg.depth)):
        for number, seed in enumerate(record.meta["seeds"]):
            entry["views"][str(seed)] = _view({name: value[number] for name, value in record.arrays.items()})
    return entry


def _view(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    out: dict[str, Any] = {
        "path": _rounded(arrays["coordinates"]),
        "loss": _rounded(arrays["path_loss"]),
        "shadow": _rounded(arrays["projected_loss"]),
        "explained": _rounded(arrays["explained"]),
    }
    for name in GRIDS:
        heights = np.round(_STEPS * np.log10(arrays[f"{name}/loss"].astype(float))).astype(int)
        axes = arrays[f"{name}/axes"][:, [0, -1]]
        out[name] = {"x": _rounded(axes[0]), "y": _rounded(axes[1]), "z": heights.ravel().tolist()}
    return out


def _rounded(values: np.ndarray) -> Any:
    """Four significant digits, NaN and infinity as None."""
    if np.ndim(values):
        return [_rounded(value) for value in values]
    return float(f"{float(values):.4g}") if np.isfinite(values) else None
