"""A real Triton server on this machine, from the package index, and what starts NVIDIA's container elsewhere."""
