"""One point of parameter space: its Hessian, what is measured of it, what the theory says of it."""
