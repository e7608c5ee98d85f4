"""Self-supervised pre-training of a vision transformer on one's own slides and tiles (DINO)."""
