"""What the contestants in JAX have in common: from expectation values to the three functions that are timed."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from contestants import Contestant


def contestant(expectations: Callable, libraries: tuple[str, ...] = ("jax", "jaxlib")) -> Contestant:
    """Compiles (phi, patches) -> expectation values, its gradient and its Hessian products (forward over reverse)."""
    slope = jax.grad(lambda phi, patches, weights: jnp.sum(weights * expectations(phi, patches)))

    def product(phi, patches, weights, v):
        return jax.jvp(lambda p: slope(p, patches, weights), (phi,), (v,))[1]

    def run(f: Callable) -> Callable:
        compiled = jax.jit(f)
        return lambda *x: np.asarray(compiled(*x))

    return Contestant(*map(run, (expectations, slope, product)), libraries)
