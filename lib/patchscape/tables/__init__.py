"""What is stored, as tidy tables; nothing here computes, or needs JAX."""

from patchscape.tables import landscapes, published, runs, spectra

__all__ = ["landscapes", "published", "runs", "spectra"]
