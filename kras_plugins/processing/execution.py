"""Many slides: processed here, two at a time with decoding in worker processes, or by another engine; or a shard."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator, Sequence, Sized
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kras_plugins.cores import cores
from kras_plugins.data import SlideRef
from kras_plugins.engines.engine import Engine, Here, Outcomes
from kras_plugins.errors import BlankError, ConfigError, KrasError, PluginError, SlideError
from kras_plugins.host.parts import Parts
from kras_plugins.processing.pipeline import SlideResult, Work, looks_at_pixels, process_slide
from kras_plugins.processing.readers import Readers
from kras_plugins.processing.reading import FEW
from kras_plugins.processing.tasks import Bench, as_named, costs_of, item_of, made, made_from, processed
from kras_plugins.processing.workers import Workers
from kras_plugins.store import Store

_SLIDES_AT_ONCE = 2
"""Slides in work at once: while one is opened, masked or finished, another keeps the model busy."""

_SAME_FAILURES = 3
"""If this many first slides fail alike, the setup is at fault, not the slides."""


class Progress(Protocol):
    """What is reported to the user while slides are processed; called from several threads."""

    def begin(self, slides: int) -> None:
        """This many slides will be processed."""

    def tiles(self, slide_id: str, stage: str, done: int, total: int) -> None:
        """Tiles of one stage of one slide."""

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        """A slide is done or set aside."""


class Silent:
    """A Progress that says nothing."""

    def begin(self, slides: int) -> None:
        """Say nothing."""

    def tiles(self, slide_id: str, stage: str, done: int, total: int) -> None:
        """Say nothing."""

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Failure:
    """A slide that was set aside, and why."""

    ref: SlideRef
    error: KrasError


@contextmanager
def workers(store: Store, count: int, plugins: Sequence[Path] = ()) -> Iterator[Work]:
    """Open `count` worker processes (0: one per core) for decoding, and as many for reading if `count` exceeds FEW;
    they start when the first tile needs them.

    `plugins`: loose plug-in files, which workers must find too.
    """
    count = count or cores()
    _allow_many_files()
    few = count <= FEW
    with Workers(count, plugins, store.place) as pool, Readers(0 if few else count, plugins, store.place) as readers:
        yield Work(store=store, read_threads=count, decode_pool=pool, readers=readers)


def _allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one: every memory-mapped bag of a cohort is one."""
    if sys.platform == "win32":  # which has no such limit
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def shard(slides: Sequence[SlideRef], spec: str) -> list[SlideRef]:
    """Every N-th slide beginning with the I-th, from `I/N` with I in 1..N; ConfigError when it is malformed."""
    try:
        index, count = (int(part) for part in spec.split("/"))
    except ValueError:
        index, count = 0, 0
    if not 1 <= index <= count:
        raise ConfigError(f"--shard {spec}: not of the form I/N with I from 1 to N", "for example --shard 1/4")
    return list(slides[index - 1 :: count])


def process_slides(
    slides: Sequence[SlideRef],
    parts: Parts,
    work: Work,
    progress: Progress | None = None,
    engine: Engine[Bench] | None = None,
) -> tuple[list[SlideResult], list[Failure]]:
    """Process slides; those that cannot be used are set aside with their reason. Both lists are in order.

    `engine`: whose benches process the pixels, with the same store; this process where None. Raises the error itself
    when the first three slides fail in the same way, and at once when no model can run or the store cannot be
    written. Finished slides stay in the store.
    """
    progress = progress or Silent()
    progress.begin(len(slides))
    results: dict[int, SlideResult] = {}
    failures: dict[int, Failure] = {}
    stop = threading.Event()

    def tell(slide_id: str, stage: str, done: int, total: int) -> None:
        if stop.is_set():
            raise _Stopped
        progress.tiles(slide_id, stage, done, total)

    if engine is None or not looks_at_pixels(parts):  # finished features are read where the files are
        here = Here(Bench(parts=parts, work=work, tell=tell), _SLIDES_AT_ONCE)
        outcomes = here.map(processed, slides)
    else:
        outcomes = _made_elsewhere(slides, parts, work, engine)
    with closing(outcomes):
        try:
            for i, outcome in outcomes:
                if isinstance(outcome, SlideError | PluginError):
                    failures[i] = Failure(slides[i], outcome)
                    progress.finished(slides[i].slide_id, outcome)
                    _stop_if_all_alike(results, list(failures.values()))
                elif isinstance(outcome, KrasError):
                    raise outcome
                else:
                    results[i] = outcome
                    progress.finished(slides[i].slide_id, None)
        except BaseException:
            stop.set()  # closing waits for the slides in work: let them end at their next tiles
            parts.abandon()
            raise
    return [results[i] for i in sorted(results)], [failures[i] for i in sorted(failures)]


def _made_elsewhere(slides: Sequence[SlideRef], parts: Parts, work: Work, engine: Engine[Bench]) -> Outcomes:
    """What other processes made from the slides, taken from the store as they finish."""
    with closing(engine.map(made, [item_of(ref) for ref in slides], costs_of(slides))) as outcomes:
        for i, outcome in outcomes:
            if isinstance(outcome, KrasError):
                yield i, as_named(outcome, slides[i])
                continue
            try:
                yield i, process_slide(slides[i], parts, work, made=made_from(outcome))
            except KrasError as e:
                yield i, e


class _Stopped(Exception):
    """Ends a slide whose run was interrupted."""


def _stop_if_all_alike(results: Sized, failures: Sequence[Failure]) -> None:
    if results or len(failures) != _SAME_FAILURES or all(isinstance(f.error, BlankError) for f in failures):
        return
    if len({(type(f.error), _without_names(f)) for f in failures}) == 1:
        raise type(failures[0].error)(
            f"the first {_SAME_FAILURES} slides failed alike: {failures[0].error.message}",
            failures[0].error.hint,
        ) from failures[0].error


def _without_names(failure: Failure) -> str:
    text = failure.error.message.replace(str(failure.ref.place), "")
    return re.sub(rf"\b{re.escape(failure.ref.slide_id)}\b", "", text)
