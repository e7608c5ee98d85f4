"""Slides to the inputs of classifiers: one slide, many slides, tiles put together in worker processes."""
