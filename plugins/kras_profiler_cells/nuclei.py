"""The pixels of all nuclei of a tile, nucleus by nucleus: what shape, stain, texture and class are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64, Int32

    Index = npt.NDArray[np.int64]

T = TypeVar("T", bound=np.generic)

FRAME = 2
"""Rows and columns of zeros about `Nuclei.labels`, so that neighbors and rays need no look at the image's edge."""


@dataclass(frozen=True, kw_only=True)
class Nuclei:
    """`labels` int32[h+4 w+4]: 1..n inside the nuclei, framed by zeros.

    Pixels are sorted by nucleus and within one in reading order: `at` int64[pixel] positions in the flattened `labels`,
    `rows` and `cols` int32[pixel] in the image without frame, `cell` int32[pixel] label - 1. Pixels of nucleus i begin
    at `starts[i]` and are `size[i]` many.
    """

    labels: Int32
    at: Index
    rows: Int32
    cols: Int32
    cell: Int32
    starts: Index
    size: Index

    def __len__(self) -> int:
        return len(self.size)

    def sums(self, values: npt.NDArray[Any]) -> Float64:
        """float64[... nucleus]: sums of [... pixel] over the pixels of each nucleus."""
        return np.add.reduceat(values, self.starts, axis=-1, dtype=np.float64) if len(self) else self._none(values)

    def _none(self, values: npt.NDArray[Any]) -> Float64:
        return np.zeros((*values.shape[:-1], 0))

    def of(self, image: npt.NDArray[T], step: int = 1) -> npt.NDArray[T]:
        """[pixel ...]: the values of [h/step w/step ...] at every pixel."""
        rows, cols = (self.rows, self.cols) if step == 1 else (self.rows // step, self.cols // step)
        at = (rows * np.int32(image.shape[1]) + cols).astype(np.intp)
        return image.reshape(-1, *image.shape[2:]).take(at, axis=0)

    def spread(self, values: npt.NDArray[T]) -> npt.NDArray[T]:
        """[pixel] of [nucleus]: each pixel gets its nucleus' value."""
        return np.repeat(values, self.size)


def nuclei_of(labels: Int32) -> Nuclei:
    """The nuclei of a label map int32[h w], labels 1..n without gaps."""
    at = np.flatnonzero(labels.ravel() != 0)
    return nuclei_at(at, labels.ravel()[at], labels.shape)


def nuclei_at(at: Index, label: Int32, shape: tuple[int, int]) -> Nuclei:
    """The nuclei of an image of `shape` whose pixels lie at flat positions `at`, `label` int32[pixel] 1..n each."""
    width = shape[1] + 2 * FRAME
    n = int(label.max(initial=0))
    # Stable sorts of 16-bit keys are by radix: several times faster.
    order = np.argsort(label.astype(np.uint16) if n < 2**16 else label, kind="stable")
    rows, cols = np.divmod(at[order].astype(np.int32), np.int32(shape[1]))
    label = label[order]
    framed = np.zeros((shape[0] + 2 * FRAME, width), np.int32)
    framed_at = (rows + FRAME).astype(np.int64) * width + (cols + FRAME)
    framed.ravel()[framed_at] = label
    size = np.bincount(label, minlength=n + 1)[1:]
    return Nuclei(
        labels=framed,
        at=np.asarray(framed_at, np.int64),
        rows=rows,
        cols=cols,
        cell=label - np.int32(1),
        starts=np.cumsum(size) - size,
        size=size,
    )
