"""Where independent tasks run: in this process, or on the workers of a Dask scheduler."""
