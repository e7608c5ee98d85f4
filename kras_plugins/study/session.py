"""The settings, plug-ins and store of one call, and how it processes slides; nothing of it stays in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.contracts.reader import FACTS
from kras_plugins.errors import ConfigError
from kras_plugins.host.config import Config
from kras_plugins.host.isolation import deadline
from kras_plugins.host.manager import Registry, discover
from kras_plugins.host.notes import noted
from kras_plugins.remote.staging import staging
from kras_plugins.store import Store, store_at
from kras_plugins.study.elsewhere import Elsewhere
from kras_plugins.study.found import check_places
from kras_plugins.study.notify import SILENT, Notify
from kras_plugins.study.outputs import SetAside, part_facts, set_aside
from kras_plugins.study.pseudonyms import Names, Telling
from kras_plugins.study.settings import StudySettings

if TYPE_CHECKING:
    from kras_plugins.data import SlideRef
    from kras_plugins.host.parts import Parts
    from kras_plugins.processing.pipeline import SlideResult


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a call works with. `elsewhere`: the workers of engine `dask`; None if all is done here."""

    settings: StudySettings
    registry: Registry
    store: Store
    notify: Notify = SILENT
    names: Names
    elsewhere: Elsewhere | None = None

    @property
    def config(self) -> Config:
        """The options of plug-ins; readers also get what the settings say about all files, unless options say so."""
        config, of_all = self.settings.config, {name: getattr(self.settings, name) for name in FACTS}
        said = {name: value for name, value in of_all.items() if value is not None}
        for name in self.registry.names("reader") if said else ():
            known = self.registry.find("reader", name).record.options.model_fields
            own = config.options.get("reader", {}).get(name, {})
            config = config.having("reader", name, {k: v for k, v in said.items() if k in known} | dict(own))
        return config


@contextmanager
def opened(settings: StudySettings, notify: Notify = SILENT) -> Iterator[Session]:
    """Find the plug-ins; a broken one is reported and left out.

    Deadline and store apply to this call alone, in its own threads and processes (context variables): two studies in
    two threads do not see each other. Raises ConfigError for options of a plug-in that is not installed.
    """
    names = Names(settings.pseudonyms)
    cache = settings.cache
    store = Store(cache.absolute() if isinstance(cache, Path) else cache)
    store.clear_dead()
    told = notify if names.file is None else Telling(names, notify)
    with ExitStack() as stack:
        stack.enter_context(names.kept())
        stack.enter_context(store_at(store.place))
        stack.enter_context(deadline(settings.deadline))
        stack.enter_context(staging(told.step))
        registry = discover(settings.block, settings.plugins, settings.import_deadline)
        for broken in registry.broken:
            cause = f"{broken.distribution} {broken.version}: {broken.cause}"
            notify.warn(f"plug-in {broken.plugin} is left out: {cause}", broken.trace)
        check_places(registry, settings.doubted)
        for kind, named in settings.options.items():
            for name in named:  # options of a missing plug-in would be silently ignored
                settings.config.options_for(kind, registry.find(kind, name).record)
        elsewhere = stack.enter_context(Elsewhere()) if settings.engine == "dask" else None
        yield Session(settings=settings, registry=registry, store=store, notify=told, names=names, elsewhere=elsewhere)


@dataclass(frozen=True, kw_only=True)
class Processed:
    """The results of a call's slides. `results`: of those that could be used; `aside`: the others, with reasons.

    `notes`: plug-ins' notes that belong to the result; `facts`: what made the inputs; `measured`: measurements of the
    backend; both as JSON values for the manifest.
    """

    results: tuple[SlideResult, ...]
    aside: tuple[SetAside, ...]
    notes: tuple[str, ...]
    facts: Mapping[str, Any]
    measured: Mapping[str, Any]


def process(session: Session, slides: Sequence[SlideRef], parts: Parts) -> Processed:
    """Process slides on the settings' engine; those that cannot be used are set aside."""
    from kras_plugins.processing.execution import process_slides, workers
    from kras_plugins.processing.pipeline import looks_at_pixels
    from kras_plugins.study.places import remember_places
    from kras_plugins.study.rates import Stopwatch, record

    for caution in cautions(parts):
        session.notify.note(f"demonstration: {caution}")
    with (
        noted(session.notify.note) as notes,
        workers(session.store, session.settings.workers, session.settings.plugins) as work,
        ExitStack() as stack,
    ):
        watch, engine = Stopwatch(session.notify), None
        if session.elsewhere is not None and looks_at_pixels(parts):
            engine = stack.enter_context(session.elsewhere.slides(session, parts, watch.tiles))
        results, failures = process_slides(slides, parts, work, watch, engine)
    for key, part in parts.named().items():
        if engine is None:  # rates are those of one machine
            record(session.store, key, part.provided, part.options, watch, results)
    remember_places(session.store, results)
    return Processed(
        results=tuple(results),
        aside=tuple(session.names.aside(one) for one in set_aside(failures)),
        notes=tuple(map(session.names.hide, notes)),
        facts=part_facts(parts),
        measured=parts.measured(),
    )


def none_usable(where: object, aside: Sequence[SetAside]) -> ConfigError:
    """The error for a call without any usable slide."""
    first = f"the first: {aside[0].reason} ({aside[0].hint})" if aside else "give slides"
    return ConfigError(f"{where}: no slide could be used", first)


def cautions(parts: Parts) -> list[str]:
    """What everybody must know about the models in use."""
    used = [s for part in parts.named().values() for s in part.specs]
    return [s.weights.caution for s in used if s.weights.caution]
