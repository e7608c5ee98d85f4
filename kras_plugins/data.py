"""The values that flow between the parts, in the order in which they arise.

Coordinates named `xy` are pixels of level 0 with the origin at the slide's upper left corner; those named `_um`
are micrometers in the same frame. Arrays are never modified after they were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from kras_plugins.urls import Url

    UInt8 = npt.NDArray[np.uint8]
    Int32 = npt.NDArray[np.int32]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]
    Bool = npt.NDArray[np.bool_]

CELL_CLASSES = (
    "tumor", "lymphocyte", "plasma", "macrophage", "neutrophil", "eosinophil",
    "fibroblast", "endothelial", "epithelial", "mitosis", "other",
)  # fmt: skip
"""Cell classes of a SemanticMap; the `class` column holds these words."""

TISSUE_CLASSES = (
    "background", "cancer_epithelium", "cancer_stroma", "necrosis", "normal_lung", "lymphoid",
    "mucin", "vessel", "bronchus", "pigment", "other",
)  # fmt: skip
"""Tissue classes of a SemanticMap; its raster holds indices into this tuple."""

GROWTH_PATTERNS = ("none", "lepidic", "acinar", "papillary", "micropapillary", "solid", "mucinous")
"""Growth patterns of adenocarcinoma (WHO 2021, with invasive mucinous); a SemanticMap's `pattern` holds indices."""

CELL_COLUMNS = (
    "x_um", "y_um", "x_px", "y_px", "class", "prob", "area_um2", "perimeter_um", "major_um", "minor_um",
    "eccentricity", "solidity", "orientation", "h_od_mean", "h_od_sd", "glcm_contrast", "glcm_correlation",
    "glcm_energy", "glcm_homogeneity", "h_entropy",
)  # fmt: skip
"""Columns of `SemanticMap.cells`, all float32 except `class` (string); what a source cannot provide is null.

`x_px, y_px` are level-0 pixels, `orientation` is in radians in [-pi/2, pi/2], `h_od_*` are hematoxylin optical
densities, `glcm_*` the gray-level co-occurrence statistics of that density.
"""


@dataclass(frozen=True, kw_only=True)
class TileSpec:
    """How large a tile is: `px` pixels a side at `mpp` micrometres per pixel, read with `halo_px` more on each side."""

    px: int
    mpp: float
    halo_px: int = 0

    @property
    def um(self) -> float:
        """Side of a tile without its halo, in micrometers."""
        return self.px * self.mpp


@dataclass(frozen=True, kw_only=True)
class SlideRef:
    """One row of a cohort: which slide of which patient, and where its pixels are.

    `path`: its file on a disk, or `url` if it is elsewhere; plug-ins that open no pixels also get it. `mpp` is what the
    cohort states, if anything; `extra` has the row's other columns as text. `source`: the row as in the table, if the
    ids here are pseudonyms.
    """

    patient_id: str
    slide_id: str
    path: Path | None = None
    mpp: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    source: SlideRef | None = field(default=None, repr=False)
    url: Url | None = None

    @property
    def place(self) -> Path | Url | None:
        """Where its pixels are; its text shows no credentials."""
        return self.path if self.url is None else self.url

    @property
    def row(self) -> SlideRef:
        """The row as in the table: results made elsewhere are found by its ids."""
        return self.source or self


@dataclass(frozen=True, kw_only=True)
class TileGrid:
    """Which tiles of a slide are looked at, in reading order (rows first).

    `xy`: int32[tile 2], level-0 pixels of each tile's upper left corner, halo excluded. `size`: (width, height) of a
    tile in level-0 pixels, halo excluded, not rounded. `spec.mpp` is the resolution actually read, which may differ by
    up to 2 % from the requested one. `tissue`: float32[tile], share of the tile that is tissue.
    """

    spec: TileSpec
    xy: Int32
    size: tuple[float, float]
    tissue: Float32

    def __len__(self) -> int:
        return len(self.xy)


@dataclass(frozen=True, kw_only=True)
class SlideQC:
    """What quality control found on one slide; it travels to the patient's result.

    Areas in mm², shares in [0, 1] of the tissue. `verdict`: `pass`, `warn` (used, with `reasons`) or `fail` (set
    aside). `stain_od`: mean optical density of the tissue in red, green and blue, None if not measured. `field`:
    whether it is a field of view. `unlike_share`: share of the tissue unlike what the profiler learned from, None if it
    does not report that. `scanner`: the scanner that made it, "" if the file does not state it.
    """

    slide_id: str
    verdict: Literal["pass", "warn", "fail"]
    reasons: tuple[str, ...]
    mpp: float
    mpp_source: str
    tissue_mm2: float
    pen_share: float
    blur_share: float
    n_tiles: int
    stain_od: tuple[float, float, float] | None = None
    field: bool = False
    unlike_share: float | None = None
    scanner: str = ""


@dataclass(frozen=True, kw_only=True)
class Bag:
    """The tile features of one slide.

    `features`: float32[tile feature], memory-mapped if it comes from the store. `xy`: int32[tile 2], level-0 pixels
    of each tile's upper left corner; `size`: a tile's (width, height) in level-0 pixels, (0, 0) for one vector of the
    whole slide, which has no place. `encoder` and `transform_hash` name what made the features: bags that differ in
    either must not be mixed. `extractor`: the extractor it belongs to in a study of several, filled in by the host; ""
    if there is only one.
    """

    slide_id: str
    features: Float32
    xy: Int32
    size: tuple[float, float]
    tile_spec: TileSpec
    encoder: str
    transform_hash: str
    extractor: str = ""

    @property
    def placed(self) -> bool:
        """Whether its rows are tiles with a place on the slide."""
        return self.size != (0.0, 0.0)


def of_extractor(name: str, extractor: str) -> str:
    """The name of what belongs to one of several extractors: `he@vit`; the plain name if there is only one (`""`)."""
    return f"{name}@{extractor}" if extractor else name


def split_extractor(name: str) -> tuple[str, str]:
    """The parts from which `of_extractor` made a name: `("he", "vit")` of `he@vit`, `("he", "")` of `he`."""
    plain, _, extractor = name.partition("@")
    return plain, extractor


@dataclass(frozen=True, kw_only=True)
class SemanticMap:
    """Cells and tissue of one slide: what a profiler makes and the host turns into features.

    `cells`: a table with CELL_COLUMNS. `tissue`: uint8[h w] of indices into TISSUE_CLASSES, `analysed`: bool[h w], both
    with pixels of `tissue_mpp` µm and the upper left corner at `origin_um`. `provides`: the cell classes, tissue
    classes and columns the source can provide at all (absent is unknown, not zero). `pattern`: uint8[h w] of indices
    into GROWTH_PATTERNS on the pixels of `tissue`, if a source states growth patterns. `ce_source` states whether
    cancer epithelium came from a `model`, an `import` or the tumor-cell `density`. `outlines`: Parquet with a WKB
    column beside the cells' rows, if any. `field`: the slide is a field of view, a window into a piece of tissue.
    `unlike_share`: share of the tissue that is unlike what the source learned from, None if it does not report that.
    """

    slide_id: str
    cells: pa.Table
    tissue: UInt8
    analysed: Bool
    origin_um: tuple[float, float]
    tissue_mpp: float
    provides: frozenset[str]
    source: str
    ce_source: str
    outlines: Path | None = None
    pattern: UInt8 | None = None
    field: bool = False
    unlike_share: float | None = None


@dataclass(frozen=True)
class Squares:
    """The squares of 1 mm² that the immune phenotype is called from, those with enough tumor area, from four grids
    that are offset by half a side.

    float64[square] each: areas in mm² of cancer epithelium (`ce`) and stroma (`cs`), lymphocytes in them.
    """

    ce: Float64
    cs: Float64
    in_ce: Float64
    in_cs: Float64


@dataclass(frozen=True, kw_only=True)
class SemanticProfile:
    """Named features of one slide or patient.

    `values`: float64[feature], NaN if a feature cannot be computed; `valid`: one flag per feature group, whether its
    counts and areas suffice. `squares`: the data from which the immune phenotype can be called again; None if features
    were made elsewhere. `unlike_share`: see SemanticMap.
    """

    id: str
    names: tuple[str, ...]
    values: Float64
    valid: Mapping[str, bool]
    source: str
    squares: Squares | None = None
    unlike_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Everything known about one patient that classifiers may use; a classifier gets the bags of one extractor."""

    patient_id: str
    bags: tuple[Bag, ...] = ()
    profile: SemanticProfile | None = None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a sample got its score.

    `contribution`: `values` float64[feature or tile] sum to raw score minus `base`. `attention`: `values` float64[tile]
    sum to one over the patient; they say where the model looked and are not contributions. `names` name features,
    `slide_ids` and `xy` (level-0 px) tiles. `attention` float64[tile] may accompany contributions of tiles.
    """

    kind: Literal["attention", "contribution"]
    values: Float64
    base: float = 0.0
    names: tuple[str, ...] = ()
    slide_ids: tuple[str, ...] = ()
    xy: Int32 | None = None
    attention: Float64 | None = None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The result for one patient: a calibrated probability from each member and from the ensemble, and the call.

    `cautions`: why the result is less reliable than it seems, such as that the patient was in training.
    """

    patient_id: str
    slides: tuple[str, ...]
    members: Mapping[str, float]
    ensemble: float | None
    call: Literal["rule_in", "indeterminate", "rule_out", "not_assessable"]
    reason: str = ""
    qc: str = "pass"
    cautions: tuple[str, ...] = ()
