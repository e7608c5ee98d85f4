"""How slides come in: the watched folder, uploads, which slides are one case, and which places may be named at all."""
