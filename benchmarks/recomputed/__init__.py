"""What recompute.py computes anew, one idea a file: nothing here imports kras_plugins."""
