"""What readers know about slides: endings of their names, and whether a slide opens and can be read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kras_plugins.cohort.check_slides import Opened
from kras_plugins.contracts.reader import ReaderPlugin
from kras_plugins.data import SlideRef
from kras_plugins.host.manager import Registry
from kras_plugins.host.parts import UsableReader
from kras_plugins.slides.slide import open_slide

_PROBE_PX = 32


def slide_suffixes(registry: Registry) -> list[str]:
    """Endings of slides that some reader can open; a DICOM slide is many files and needs a table."""
    records = [registry.record("reader", name, ReaderPlugin) for name in registry.names("reader")]
    return sorted({suffix for record in records for suffix in record.suffixes} - {".dcm", ".dicom"})


def open_and_read(ref: SlideRef, readers: Sequence[UsableReader], reader: str | None) -> Opened:
    """Open a slide and read a few pixels of its middle: some damage shows only then. KrasError if that fails."""
    with open_slide(ref, readers, reader) as slide:
        mpp = float(np.mean(slide.mpp))
        slide.read((slide.size[0] / 2, slide.size[1] / 2), (_PROBE_PX, _PROBE_PX), mpp)
        return Opened(fingerprint=slide.fingerprint, mpp=mpp, mpp_source=slide.mpp_source, warnings=slide.warnings)
