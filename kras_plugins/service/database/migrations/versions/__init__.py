"""How each version's tables become those of the next."""
