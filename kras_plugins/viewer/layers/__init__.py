"""What the viewer lays over a slide: one file a layer."""
