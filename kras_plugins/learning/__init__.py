"""Nested cross-validation, calibration, ensemble and the deployable bundle."""
