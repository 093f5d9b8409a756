"""Numerical methods that know no model: linear maps, curvature products, spectra, planes, statistics."""
