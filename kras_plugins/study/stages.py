"""One stage alone: slides through an extractor or a profiler, what it makes written into a folder that may grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kras_plugins.host.parts import Parts, open_parts
from kras_plugins.processing.pipeline import SlideResult
from kras_plugins.semantics.profile import FEATURES_VERSION
from kras_plugins.study.identity import Identity, claim
from kras_plugins.study.inputs import slides_of
from kras_plugins.study.prepare import options_of
from kras_plugins.study.results import SlideOutput, SlideOutputs
from kras_plugins.study.session import none_usable, opened, process

if TYPE_CHECKING:
    from kras_plugins.study.notify import Notify
    from kras_plugins.study.session import Session
    from kras_plugins.study.settings import StudySettings

Kind = Literal["extractor", "profiler"]
Write = Callable[[SlideResult, Parts, Path], SlideOutput | None]


def stage(
    kind: Kind,
    slides: Sequence[Path | str] | Path | str,
    settings: StudySettings,
    out: Path,
    write: Write,
    *,
    overwrite: bool,
    notify: Notify,
) -> tuple[SlideOutputs, tuple[SlideResult, ...]]:
    """Process slides, then `write(result, parts, folder)` each; ConfigError when none could be used."""
    given = [slides] if isinstance(slides, str | Path) else list(slides)
    name = settings.extractor if kind == "extractor" else settings.profiler
    with opened(settings, notify) as session:
        made_elsewhere = getattr(session.registry.find(kind, name).record, "load", None) is not None
        table = slides_of(given, session.registry, made_elsewhere=made_elsewhere)
        claim(out, _identity(session, kind, name), overwrite=overwrite)
        with open_parts(
            session.registry,
            session.config,
            extractor=name if kind == "extractor" else None,
            profiler=name if kind == "profiler" else None,
            backend=settings.backend,
            reader=settings.reader,
        ) as parts:
            processed = process(session, [slide for p in table.patients for slide in p.slides], parts)
            if not processed.results:
                raise none_usable(", ".join(map(str, given)), processed.aside)
            written = [write(result, parts, out) for result in processed.results]
    outputs = SlideOutputs(
        folder=out,
        slides=tuple(one for one in written if one is not None),
        added=tuple(result.ref.slide_id for result in processed.results),
        failures=processed.aside,
    )
    return outputs, processed.results


def _identity(session: Session, kind: Kind, name: str) -> Identity:
    """What all slides of the folder have in common; which slides they are is not part of it."""
    options = options_of(session, [(kind, name)])
    made_by = session.registry.find(kind, name).id
    return Identity(
        call="embed" if kind == "extractor" else "profile",
        settings={kind: name, "backend": session.settings.backend, "options": options},
        plugins=[made_by, f"features/{FEATURES_VERSION}"] if kind == "profiler" else [made_by],
    )
