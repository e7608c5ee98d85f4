"""What an encoder is worth on labelled tiles, and how far its features move when only the picture changes."""
