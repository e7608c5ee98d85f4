"""Is a slide good enough: focus per tile, and a verdict per slide that travels to the patient's result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from kras_plugins.data import SlideQC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kras_plugins.data import Bool, Float32, UInt8
    from kras_plugins.slides.tissue import TissueMask

MIN_SHARPNESS = 0.007
"""Share of fine in coarse contrast below which a tile is out of focus. Measured on real tiles at 0.5 µm/px: sharp
0.014 to 0.9; after a Gaussian of sigma 1 px (0.5 µm) 0.006 to 0.08, of 3 px (1.5 µm) at most 0.005."""
JPEG_NOISE = 3.0
"""Fine contrast, in squared gray levels, that JPEG blocks and rounding give to a tile without any detail."""
MIN_CONTRAST = 12.0
"""Coarse contrast, in squared gray levels, below which there is no detail that could be sharp (glass has 3)."""
FINE_UM = 0.5
"""Distance at which focus shows: the optical resolution of a 20x objective. With coarser pixels, one pixel is used."""
COARSE = 8
"""Coarse over fine distance: 4 µm, half a nucleus, which defocus of 1.5 µm hardly dims."""
EVERY = 8
"""Only every eighth row and column is examined: that is enough to judge and keeps the data path fast."""

FAIL_TISSUE_MM2 = 0.05
"""Less tissue than this, four tiles of 112 µm, is too little to learn a patient's status from."""
WARN_TISSUE_MM2 = 0.25
"""Less tissue than this is less than a needle core half a millimeter long and wide, or twenty tiles."""
WARN_PEN = 0.1
WARN_BLUR, FAIL_BLUR = 0.3, 0.9
WARN_UNLIKE = 0.25
"""Above this share a profiler's cells are no longer trusted to be cancer: `semantics.map.MOST_UNLIKE`."""
PEN_WINDOW_MM = 1.0
"""Pen counts as lying over tissue where most of the unmarked area this near is tissue; about two strokes wide."""


def sharpness(tiles: UInt8, mpp: float) -> tuple[Float32, Float32]:
    """Focus and contrast of tiles, from the green channel, where both dyes absorb.

    `tiles`: uint8[tile h w 3] at `mpp` µm per pixel. Returns float32[tile] twice: the mean squared second difference
    over FINE_UM, less JPEG_NOISE, divided by the mean squared difference over 4 µm; and the latter, the contrast. Their
    ratio falls with any blur but does not depend on how strongly a tile is stained (normalized variants of the
    Laplacian energy in Pertuz et al. 2013, doi:10.1016/j.patcog.2012.11.011).
    """
    near = max(1, round(FINE_UM / mpp))
    far = near * COARSE
    fine, coarse = np.zeros((2, len(tiles)), np.float32)
    rows, columns = tiles[:, ::EVERY, :, 1], np.ascontiguousarray(tiles[:, :, ::EVERY, 1]).transpose(0, 2, 1)
    room = np.empty(max(rows.size, columns.size), np.float32)  # taken once: its pages cost more than the arithmetic
    for lines in (rows, columns):
        if lines.shape[2] <= far:
            continue
        g = lines.astype(np.int16, order="C")
        bend = g[..., 2 * near :] + g[..., : -2 * near]
        bend -= 2 * g[..., near:-near]
        step = g[..., far:] - g[..., :-far]
        for out, d in ((fine, bend), (coarse, step)):
            exact = room[: d.size].reshape(d.shape)
            exact[...] = d
            out += np.einsum("nij,nij->n", exact, exact) / (2 * d.shape[1] * d.shape[2])
    return np.maximum(fine - JPEG_NOISE, 0) / np.maximum(coarse, 1), coarse


def blurred(tiles: UInt8, mpp: float) -> Bool:
    """Which tiles are out of focus, bool[tile]; tiles without contrast, such as empty glass, are not judged.

    `tiles`: uint8[tile h w 3] at `mpp` µm per pixel. Made for 0.25 to 0.5 µm/px; at 1 µm/px and coarser only defocus of
    several µm shows.
    """
    focus, contrast = sharpness(tiles, mpp)
    flags: Bool = (focus < MIN_SHARPNESS) & (contrast > MIN_CONTRAST)
    return flags


def slide_qc(
    *,
    slide_id: str,
    tissue: TissueMask,
    blurred: Bool,
    mpp: float,
    mpp_source: str,
    warnings: Sequence[str] = (),
    field: bool = False,
    unlike_share: float | None = None,
    scanner: str = "",
) -> SlideQC:
    """The verdict on a slide, with a reason for everything that keeps it from being a plain pass.

    `blurred`: bool[tile], the focus flags of all tiles looked at; without any tile the slide fails and its `blur_share`
    is NaN. `mpp`: level-0 resolution, as found by `mpp_source`. `warnings`: the slide's own. `field`: a field of view
    needs no minimum area of tissue; its patient's fields are judged together (`little_tissue`).
    `unlike_share`: share of the tissue that is unlike what the profiler learned from; only a warning, because what
    does not depend on its cells can still be used.
    """
    area, pen = tissue.area_mm2, pen_share(tissue)
    blur = float(blurred.mean()) if len(blurred) else float("nan")
    failures, reasons = [], list(warnings)
    if not area:
        failures.append("no tissue found")
    elif area < FAIL_TISSUE_MM2 and not field:
        failures.append(f"hardly any tissue ({area:.3f} mm²)")
    elif not len(blurred):
        failures.append("no tile contains enough tissue")
    elif area < WARN_TISSUE_MM2 and not field:
        reasons.append(f"little tissue ({area:.2f} mm²)")
    if blur > FAIL_BLUR:
        failures.append(f"out of focus ({blur:.0%} of tiles)")
    elif blur > WARN_BLUR:
        reasons.append(f"partly out of focus ({blur:.0%} of tiles)")
    if pen > WARN_PEN:
        reasons.append(f"pen marks over tissue ({pen:.0%})")
    if unlike_share is not None and unlike_share > WARN_UNLIKE:
        reasons.append(f"tissue unlike training ({unlike_share:.0%})")
    if mpp_source == "objective" and not warnings:
        reasons.append("mpp is derived from the objective power")
    return SlideQC(
        slide_id=slide_id,
        verdict="fail" if failures else "warn" if reasons else "pass",
        reasons=(*failures, *reasons),
        mpp=mpp,
        mpp_source=mpp_source,
        tissue_mm2=area,
        pen_share=pen,
        blur_share=blur,
        n_tiles=len(blurred),
        stain_od=tissue.stain_od,
        field=field,
        unlike_share=unlike_share,
        scanner=scanner,
    )


def little_tissue(slides: Sequence[SlideQC]) -> str:
    """The reason for a patient who has only fields of view, with little tissue in all of them together; else ""."""
    area = sum(qc.tissue_mm2 for qc in slides)
    if not slides or area >= WARN_TISSUE_MM2 or not all(qc.field for qc in slides):
        return ""
    return f"{'hardly any' if area < FAIL_TISSUE_MM2 else 'little'} tissue in all fields ({area:.3f} mm²)"


def pen_share(tissue: TissueMask) -> float:
    """Share of the tissue that lies under pen, in [0, 1].

    Pen hides what is below, which is assumed to be tissue where most of the unmarked surroundings are. A line drawn
    on glass around a piece of tissue thus does not count.
    """
    if not tissue.pen.any() or not tissue.mask.any():
        return 0.0
    size = 2 * max(1, round(500 * PEN_WINDOW_MM / tissue.mpp)) + 1
    near, seen = (ndi.uniform_filter(m.astype(np.float32), size, mode="constant") for m in (tissue.mask, ~tissue.pen))
    over = int(np.count_nonzero(tissue.pen & (near > 0.5 * seen)))
    return over / (over + int(np.count_nonzero(tissue.mask)))
