"""What the arrays of result files mean, as far as the code that makes them and the code that reads them share it."""

import numpy as np

TOP = 20  # ours: eigenvalues kept of each Hessian
LEADING = 12  # ours: eigenvalues that must converge, more than C = 10; the others come with their residuals

BLOCKS = ("trained", "start")  # the first rows of a file of redrawn blocks; the draws follow

# Where the loss is taken along lines, in files of landscapes.
LINE = np.linspace(-2, 2, 81)  # ours: rad, along single directions
BETWEEN = np.linspace(0, 1, 25)  # ours: from one minimum to another
FROM_START = np.linspace(-0.2, 1.2, 57)  # ours: 0 is the start, 1 the minimum
LINES = ("top eigenvector", "PC1", "PC2", "random")
