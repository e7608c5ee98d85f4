"""What recompute.py recomputes, one idea a file: nothing here imports kras_plugins."""
