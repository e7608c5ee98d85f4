"""Which pixels to look at: opening, tissue, quality control, tiles."""
