"""Experiments on public data, each one command: `python -m experiments.NAME` from the repository."""
