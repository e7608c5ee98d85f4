"""How slides come in: the watched folder, which slides are one case, and what may be named at all."""
