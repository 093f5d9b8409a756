"""The same circuit in several simulators, one module each.

Every module has `build(cfg)`, which returns functions of NumPy arrays that wait for their result (`Contestant`). A
module may need libraries that do not go together with those of the others: it runs in a process of its own, under the
interpreter that its entry in `ENVIRONMENTS` names (`run.py --python`).
"""

from collections.abc import Callable
from typing import NamedTuple

# Where a contestant is at home: "bench" is the interpreter that runs the benchmarks.
ENVIRONMENTS = {"catalyst": "catalyst"}  # it pins another version of JAX


class Contestant(NamedTuple):
    """A simulator of one circuit, ready to run.

    Attributes:
        forward: (phi (P,), patches (N, q*q)) -> expectation values (N, K).
        gradient: (phi, patches, weights (N, K)) -> (P,), of the sum of weights * expectation values along phi.
        product: (phi, patches, weights, v (P,)) -> (P,), the Hessian of the same sum times v; None where there is none.
        libraries: names of the distributions whose versions belong to a result.
    """

    forward: Callable
    gradient: Callable | None
    product: Callable | None
    libraries: tuple[str, ...]
