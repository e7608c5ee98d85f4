"""A real Triton server on this machine, from the package index, and commands for NVIDIA's container elsewhere."""
