"""What recompute.py recomputes, one idea per file: nothing here imports kras_plugins."""
