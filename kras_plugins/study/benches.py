"""What a worker on another machine needs to know about a study, and the benches that it opens from this.

An order is JSON: settings and options as the client resolved them, names of plug-ins, the text of loose plug-in files,
and the address of the store. It contains no pixels, no labels of the cohort's table and no names except in options.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.cores import cores
from kras_plugins.data import Sample, TileSpec
from kras_plugins.files.leftovers import scratch
from kras_plugins.host.config import Config
from kras_plugins.host.isolation import deadline
from kras_plugins.host.manager import Registry, discover
from kras_plugins.host.parts import Parts, UsableReader, open_parts, usable_readers
from kras_plugins.manifest import library_versions
from kras_plugins.pretraining.tiles import TileBench
from kras_plugins.processing.execution import workers
from kras_plugins.processing.tasks import Bench
from kras_plugins.store import Store, make_key, store_at
from kras_plugins.study.outputs import part_facts, reader_facts
from kras_plugins.urls import Url, place

if TYPE_CHECKING:
    from kras_plugins.study.session import Session

Tell = Callable[[str, str, int, int], None]
JSON = dict[str, Any]

_JOBLIB = "LOKY_MAX_CPU_COUNT"
"""The environment variable that limits the cores joblib uses."""


class _Stopped(Exception):
    """Ends a slide whose run is over."""


@dataclass(frozen=True, kw_only=True)
class FitBench:
    """What classifiers are fitted with. `kept`: samples that were read, by the digest of a cohort's samples."""

    registry: Registry
    config: Config
    store: Store
    kept: dict[str, tuple[list[Sample], list[str]]] = field(default_factory=dict)


def order_for(session: Session, parts: Parts | None = None, tiles: TileBench | None = None) -> JSON:
    """What workers must know to open a bench: for slides if `parts` are given, for a survey of tiles, else for fits.

    The number of threads is decided here, so that it is the same for all workers.
    """
    import torch

    settings = session.settings
    return _plain(
        {
            "settings": {
                "block": session.registry.blocked,
                "deadline": settings.deadline,
                "import_deadline": settings.import_deadline,
                "options": settings.options,
            },
            "plugins": [{"place": str(file), "text": file.read_text(encoding="utf-8")} for file in settings.plugins],
            "store": address(session.store),
            "workers": settings.workers or cores(),
            "threads": torch.get_num_threads(),
            "parts": None if parts is None else parts.asked,
            "tiles": None if tiles is None else {**asdict(tiles.spec), "config": session.config.options},
        }
    )


def identity_of(
    registry: Registry, store: Store, parts: Parts | None = None, readers: Sequence[UsableReader] = ()
) -> JSON:
    """What must be the same on two machines, so that one computes what the other would, into the same store.

    `readers`: given if no other plug-ins are used.
    """
    facts = {"readers": reader_facts(readers)} if parts is None else part_facts(parts)
    return _plain(
        {
            "python": ".".join(platform.python_version_tuple()[:2]),
            "processor": platform.machine(),
            "version of": library_versions(),
            "plug-in": {p.id: p.version for p in registry.provided},
            "store": _mark(store),
            **{k: v for k, v in facts.items() if k != "readers"},
            "reader": facts["readers"],
        }
    )


def address(store: Store) -> str:
    """The address of a store, under which another machine finds it."""
    return store.place.text if isinstance(store.place, Url) else os.path.abspath(store.place)


def mark(store: Store) -> None:
    """Leave a mark in the store by which another machine can tell that it sees the same store."""

    def build(folder: Path) -> None:
        (folder / "mark.txt").write_text(uuid.uuid4().hex, encoding="utf-8", newline="\n")

    store.make(make_key("mark"), build)


def _mark(store: Store) -> str | None:
    folder = store.find(make_key("mark"))
    return None if folder is None else (folder / "mark.txt").read_text()


@contextmanager
def slide_bench(order: Mapping[str, Any], tell: Tell) -> Iterator[tuple[Bench, JSON]]:
    """Open what slides are processed with; also returns what identifies it. See `engines.worker.Open`."""
    asked, stop = order["parts"], threading.Event()

    def told(slide_id: str, stage: str, done: int, total: int) -> None:
        if stop.is_set():
            raise _Stopped
        tell(slide_id, stage, done, total)

    with (
        _opened(order) as (registry, store, files),
        open_parts(
            registry,
            Config(asked["config"]),
            extractors=asked["extractors"],
            profiler=asked["profiler"],
            backend=asked["backend"],
            reader=asked["reader"],
        ) as parts,
        workers(store, int(order["workers"]), files) as work,
    ):
        try:
            yield Bench(parts=parts, work=work, tell=told), identity_of(registry, store, parts)
        finally:
            stop.set()


@contextmanager
def tile_bench(order: Mapping[str, Any], _tell: Tell) -> Iterator[tuple[TileBench, JSON]]:
    """Open what slides are searched for tiles with; also returns what identifies it. See `engines.worker.Open`."""
    asked = order["tiles"]
    with _opened(order) as (registry, store, _):
        readers = usable_readers(registry, Config(asked["config"]))
        spec = TileSpec(px=asked["px"], mpp=asked["mpp"])
        yield TileBench(readers=readers, spec=spec, store=store), identity_of(registry, store, readers=readers)


@contextmanager
def fit_bench(order: Mapping[str, Any], _tell: Tell) -> Iterator[tuple[FitBench, JSON]]:
    """Open what classifiers are fitted with; also returns what identifies it. See `engines.worker.Open`."""
    with _opened(order) as (registry, store, _):
        config = Config(order["settings"]["options"])
        yield FitBench(registry=registry, config=config, store=store), identity_of(registry, store)


@contextmanager
def _opened(order: Mapping[str, Any]) -> Iterator[tuple[Registry, Store, list[Path]]]:
    """The plug-ins and the store of an order, and its loose files as written here, which are removed at the end."""
    settings, store = order["settings"], Store(place(order["store"]))
    with ExitStack() as stack:
        stack.enter_context(_threads(int(order["threads"])))
        stack.enter_context(store_at(store.place))
        stack.enter_context(deadline(settings["deadline"]))
        called: dict[Path, str] = {}
        for number, plugin in enumerate(order["plugins"]):
            folder = stack.enter_context(scratch(f"plugin-{number}"))
            file = folder / Path(plugin["place"]).name
            file.write_text(plugin["text"], encoding="utf-8", newline="\n")
            called[file] = plugin["place"]
        registry = discover(settings["block"], called, settings["import_deadline"], called)
        yield registry, store, list(called)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Use as many threads for arithmetic as the client: another number rounds differently.

    This also holds for joblib, which would use one thread per core: a machine may run several workers.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before, cores = torch.get_num_threads(), os.environ.get(_JOBLIB)
    torch.set_num_threads(count)
    os.environ[_JOBLIB] = str(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
        if cores is None:
            del os.environ[_JOBLIB]
        else:
            os.environ[_JOBLIB] = cores


def _plain(value: Any) -> JSON:
    """The value as it is read back from JSON, so that two values can be compared."""
    plain: JSON = json.loads(json.dumps(value))
    return plain
