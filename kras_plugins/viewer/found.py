"""What `kras view` shows, found from what was named: slides, or the folder of a result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.cohort.table import bare_slides
from kras_plugins.host.parts import usable_readers
from kras_plugins.slides.slide import open_slide
from kras_plugins.store import safe_name
from kras_plugins.viewer.shown import Listed, Shown, ShownSlide

if TYPE_CHECKING:
    from kras_plugins.data import SlideRef
    from kras_plugins.study.session import Session


def find_shown(session: Session, given: Sequence[Path], slides: Path | None = None) -> Shown:
    """The slides of `given` with what is known of them; `slides`: where to look for those that were moved.

    Raises UsageError or ConfigError where nothing can be shown.
    """
    readers = usable_readers(session.registry, session.config, session.settings.reader)

    def listed(ref: SlideRef) -> Listed:
        def opened() -> ShownSlide:
            return ShownSlide(slide=open_slide(ref, readers, session.settings.reader))

        return Listed(name=safe_name(ref.slide_id), slide_id=ref.slide_id, patient_id=ref.patient_id, open=opened)

    found = [listed(ref) for patient in bare_slides(given).patients for ref in patient.slides]
    title = found[0].slide_id if len(found) == 1 else f"{len(found)} slides"
    return Shown(title=title, slides={one.name: one for one in found})
