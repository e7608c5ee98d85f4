"""One slide through OpenSlide, as fast as the library allows."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Mapping
from ctypes import POINTER, c_uint32
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tifffile
from openslide import OpenSlideError, OpenSlideUnsupportedFormatError, lowlevel
from PIL import Image, ImageCms

from kras_plugins import Level, SlideError
from kras_plugins.slides.ome import positive
from kras_plugins.slides.tiff import alpha_of, check_tiles, damage_told, find_image
from kras_reader_openslide.sparse import check_places

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import UInt8

    UInt32 = npt.NDArray[np.uint32]

OPAQUE = 0xFF000000
"""Smallest premultiplied ARGB value of an opaque pixel."""
FACTS = (
    "openslide.vendor", "openslide.icc-size", "aperio.ScanScope ID", "hamamatsu.Product",
    "hamamatsu.SourceLens", "leica.device-model", "leica.device-version", "dicom.Manufacturer",
    "dicom.ManufacturerModelName", "philips.DICOM_MANUFACTURER", "ventana.ScannerModel",
)  # fmt: skip
"""The properties passed on. Others may contain names, accession numbers or file names that identify a person."""
PLAIN_TIFF = ("generic-tiff", "aperio")
"""Vendors for which OpenSlide takes any TIFF as a slide: gray ones, stacks, the first of several images."""
TIFF = (".tif", ".tiff", ".svs", ".ndpi", ".scn", ".bif", ".svslide")
"""Suffixes of files that are TIFF, whoever made them."""
ADAPTERS = ("mirax", "zeiss")
"""Vendors whose camera adapters also magnify: their objective power says nothing about the size of a pixel."""


class OpenSlideSource:
    """A SlideSource. Label and macro images are never read.

    Threads that share one OpenSlide handle are slower than one thread, so each read borrows a handle of its
    own; all handles share one cache of decoded tiles. A handle that had an error stays unusable and is
    dropped.
    """

    def __init__(self, path: Path, icc: Literal["ignore", "srgb"], cache_mb: int) -> None:
        """Open the file; raises SlideError naming file and cause."""
        check_places(path)
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[Any] = []
        self._closed = False
        self._cache = lowlevel.cache_create(cache_mb << 20)
        handle = self._open()
        try:
            self._describe(handle)
            self._transform = self._to_srgb(handle) if icc == "srgb" else None
        except OpenSlideError as e:
            raise self._error(e) from e
        self._idle.append(handle)

    def _describe(self, handle: Any) -> None:
        """Read levels and facts."""
        names = lowlevel.get_property_names(handle)
        facts = {name: lowlevel.get_property_value(handle, name) for name in names}
        vendor = facts.get("openslide.vendor")
        found = [lowlevel.get_level_dimensions(handle, i) for i in range(lowlevel.get_level_count(handle))]
        self._kept = [i for i, (width, height) in enumerate(found) if width > 0 and height > 0]
        if not self._kept:
            raise SlideError(f"{self._path}: has no pixels", "scan or export it again")
        self._ignore_alpha = False
        if vendor in PLAIN_TIFF:
            known = self._look(found[self._kept[0]])
            self._kept = [i for i in self._kept if found[i] in known]
        elif self._path.suffix.lower() in TIFF:
            with damage_told(self._path), tifffile.TiffFile(self._path) as tif:
                check_tiles(tif, self._path)
        self.levels = tuple(Level(width=found[i][0], height=found[i][1]) for i in self._kept)
        self._downsample = [lowlevel.get_level_downsample(handle, i) for i in self._kept]
        x, y = positive(facts.get("openslide.mpp-x")), positive(facts.get("openslide.mpp-y"))
        self.mpp = (x, y) if x and y else None
        # Without a scanner's own tags this comes from the TIFF's resolution, 72 dpi by default, which means nothing.
        if self.mpp and vendor == "generic-tiff" and not 0.05 <= self.mpp[0] <= 20:
            self.mpp = None
        power = positive(facts.get("openslide.objective-power"))
        self.objective_power = None if vendor in ADAPTERS else power
        self.warnings = tuple(
            f"the file states {name} = {text}, which is not a positive number and was ignored"
            for name in ("MPP", "AppMag")
            if (text := facts.get(f"aperio.{name}")) and positive(text) is None
        )
        self.quickhash = facts.get("openslide.quickhash-1")
        self.properties: Mapping[str, str] = {name: facts[name] for name in FACTS if facts.get(name)}

    def _look(self, seen: tuple[int, int]) -> list[tuple[int, int]]:
        """Sizes of the levels of the slide in a TIFF, in which OpenSlide sees an image of the size `seen`.

        Raises ContentError if the file is not a slide, SlideError if OpenSlide sees another of its images or cannot
        distinguish missing tiles from black ones.
        """
        with damage_told(self._path), tifffile.TiffFile(self._path) as tif:
            pages = find_image(tif, self._path).levels
            known = [(page.imagewidth, page.imagelength) for page in pages]
            if seen != known[0]:
                (width, height), (w, h) = known[0], seen
                raise SlideError(
                    f"{self._path}: its slide has {width} x {height} pixels, but OpenSlide sees an image of {w} x {h}",
                    "read it with --reader tiff",
                )
            if pages[0].samplesperpixel == 4 and alpha_of(pages[0]) is None:
                if any(0 in page.databytecounts for page in pages):
                    raise SlideError(
                        f"{self._path}: lacks tiles, which its fourth sample of unknown meaning hides from OpenSlide",
                        "read it with --reader tiff",
                    )
                self._ignore_alpha = True
        return known

    def read_level(self, level: int, xy: tuple[int, int], size: tuple[int, int]) -> UInt8:
        """Pixels uint8[h w 3] of a region of `level`, transparent ones white; raises SlideError on damage.

        OpenSlide takes level-0 coordinates, whole ones: where a level's downsampling is not a whole number,
        the region lies up to half a level-0 pixel off.
        """
        downsample = self._downsample[level]
        x, y = (math.floor(at * downsample + 0.5) for at in xy)
        width, height = size
        argb = np.empty((height, width), np.uint32)
        handle = self._borrow()
        try:
            # The public lowlevel.read_region converts to a PIL image, which costs two more copies.
            lowlevel._read_region(
                handle, argb.ctypes.data_as(POINTER(c_uint32)), x, y, self._kept[level], width, height
            )
        except OpenSlideError as e:
            lowlevel.close(handle)
            raise self._error(e) from e
        self._give_back(handle)
        rgb = _rgb(argb) if self._ignore_alpha else _on_white(argb)
        if self._transform is not None:
            return np.asarray(ImageCms.applyTransform(Image.fromarray(rgb), self._transform))
        return rgb

    def close(self) -> None:
        """Close all handles; one in use is closed when its read ends."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for handle in idle:
            lowlevel.close(handle)

    def _open(self) -> Any:
        try:
            handle = lowlevel.open(self._path)
            lowlevel.set_cache(handle, self._cache)
        except OpenSlideUnsupportedFormatError as e:
            raise SlideError(
                f"{self._path}: OpenSlide does not know this format, or the file is damaged",
                "check that the copy is complete; multi-file formats need their companion files",
            ) from e
        except OpenSlideError as e:
            raise self._error(e) from e
        return handle

    def _borrow(self) -> Any:
        with self._lock:
            if self._closed:
                raise SlideError(f"{self._path}: was closed")
            if self._idle:
                return self._idle.pop()
        return self._open()

    def _give_back(self, handle: Any) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(handle)
                return
        lowlevel.close(handle)

    def _error(self, cause: OpenSlideError) -> SlideError:
        return SlideError(f"{self._path}: {cause}", "the file is damaged or unsupported; copy it again from its source")

    def _to_srgb(self, handle: Any) -> ImageCms.ImageCmsTransform | None:
        """The transform from the scanner's colors to sRGB, None where the file has no profile."""
        profile = lowlevel.read_icc_profile(handle)
        if profile is None:
            return None
        try:
            own = ImageCms.getOpenProfile(io.BytesIO(profile))
            intent = ImageCms.Intent(ImageCms.getDefaultIntent(own))
            return ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), "RGB", "RGB", intent)
        except (ImageCms.PyCMSError, OSError) as e:
            raise SlideError(f"{self._path}: its ICC profile is unusable: {e}", "read it with icc=ignore") from e


def _rgb(argb: UInt32) -> UInt8:
    """RGB uint8[h w 3] from ARGB uint32[h w] of little-endian machines."""
    bgra = argb.view(np.uint8).reshape(*argb.shape, 4)
    rgb = np.empty((*argb.shape, 3), np.uint8)
    for channel in range(3):  # three strided copies are faster than one reversed view
        rgb[..., channel] = bgra[..., 2 - channel]
    return rgb


def _on_white(argb: UInt32) -> UInt8:
    """RGB uint8[h w 3] from premultiplied ARGB uint32[h w], laid over white."""
    rgb = _rgb(argb)
    if argb.min() < OPAQUE:
        alpha = argb.view(np.uint8).reshape(*argb.shape, 4)[..., 3:]
        # libtiff trusts a file's claim of premultiplied colors: if one is above its alpha, the sum would wrap.
        rgb = np.minimum(rgb, alpha) + (255 - alpha)
    return rgb
