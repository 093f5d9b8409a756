"""What is stored, as tidy tables; nothing here computes, or needs JAX."""

from patchscape.tables import beyond, landscapes, matched, published, runs, spectra

__all__ = ["beyond", "landscapes", "matched", "published", "runs", "spectra"]
