"""What an encoder is worth on labeled tiles, and how far its features move when only the image changes."""
