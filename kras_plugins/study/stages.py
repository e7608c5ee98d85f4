"""One stage alone: slides through an extractor or a profiler, into a folder that later calls may add to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kras_plugins.errors import ConfigError
from kras_plugins.host.parts import Parts, open_parts
from kras_plugins.processing.pipeline import SlideResult
from kras_plugins.semantics.profile import FEATURES_VERSION
from kras_plugins.study.gathering import Gathering
from kras_plugins.study.inputs import slides_of
from kras_plugins.study.outputs import FAILURES, failures_with, slide_facts, write_failures
from kras_plugins.study.prepare import made_elsewhere, options_of
from kras_plugins.study.results import SlideOutput, SlideOutputs
from kras_plugins.study.session import none_usable, opened, process

if TYPE_CHECKING:
    import pyarrow as pa

    from kras_plugins.study.notify import Notify
    from kras_plugins.study.session import Session
    from kras_plugins.study.settings import StudySettings

Kind = Literal["extractor", "profiler"]
Write = Callable[[SlideResult, Parts, Path], SlideOutput | None]
Gather = Callable[[Path, Sequence[SlideResult]], "pa.Table | None"]


def stage(
    kind: Kind,
    slides: Sequence[Path | str] | Path | str,
    settings: StudySettings,
    out: Path,
    write: Write,
    gather: Gather,
    *,
    overwrite: bool,
    notify: Notify,
) -> SlideOutputs:
    """Process slides, call `write(result, parts, folder)` for each, then `gather(folder, results)` for the whole table.

    Raises ConfigError if no slide could be used.
    """
    given = [slides] if isinstance(slides, str | Path) else list(slides)
    name = settings.extractor if kind == "extractor" else settings.profiler
    if kind == "extractor" and len(settings.extractors) > 1:
        raise ConfigError(
            f"--extractor {name}: a folder takes the bags of one extractor only",
            "call once for each extractor, into separate folders",
        )
    with opened(settings, notify) as session:
        session.names.begin(out, map(Path, given))
        read = made_elsewhere(session.registry, [(kind, name)])
        found = slides_of(given, session.registry, made_elsewhere=read, learn=session.names.learn)
        cohort, *_ = session.names.table(found)
        ids = [slide.slide_id for p in cohort.patients for slide in p.slides]
        gathering = Gathering.opened(out, _what(session, kind, name), ids, overwrite=overwrite)
        with open_parts(
            session.registry,
            session.config,
            extractors=[name] if kind == "extractor" else [],
            profiler=name if kind == "profiler" else None,
            backend=settings.backend,
            reader=settings.reader,
        ) as parts:
            processed = process(session, [slide for p in cohort.patients for slide in p.slides], parts)
            if not processed.results:
                raise none_usable(", ".join(session.names.hidden(list(map(str, given)))), processed.aside)
            gathering.refuse_changed_slides(slide_facts(processed.results))
            written = [write(result, parts, out) for result in processed.results]
        entry = {
            **{k: v for k, v in processed.facts.items() if k != "readers"},
            "config": session.names.hidden({"cache": session.settings.described().get("cache")}),
            "measured": processed.measured,
            "slides": slide_facts(processed.results),
            "failures": [asdict(f) for f in processed.aside],
        }
        with gathering.adding():
            table = gather(out, processed.results)
            write_failures(out / FAILURES, failures_with(out / FAILURES, ids, processed.aside))
            gathering.record(entry)
    return SlideOutputs(
        folder=out,
        slides=tuple(one for one in written if one is not None),
        added=tuple(result.ref.slide_id for result in processed.results),
        failures=processed.aside,
        table=table,
    )


def _what(session: Session, kind: Kind, name: str) -> dict[str, Any]:
    """What all slides of the folder have in common."""
    made_by = session.registry.find(kind, name).id
    return {
        "call": "embed" if kind == "extractor" else "profile",
        "plugins": [made_by, f"features/{FEATURES_VERSION}"] if kind == "profiler" else [made_by],
        "options": options_of(session, [(kind, name)]),
        "pseudonyms": session.names.mark,
    }
