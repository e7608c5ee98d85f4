"""The layers that the viewer draws over a slide, one file per layer."""
