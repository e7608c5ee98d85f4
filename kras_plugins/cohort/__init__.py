"""Patients, their labels and their folds."""
