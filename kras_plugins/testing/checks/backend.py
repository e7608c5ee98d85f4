"""Checks of backends: a small network gives there what it gives in PyTorch, from any thread, until it is closed."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.contracts.model import Weights
from kras_plugins.errors import BackendError, KrasError
from kras_plugins.probing.parity import LIMITS
from kras_plugins.testing.checks import probe
from kras_plugins.testing.checks.rule import check, refused, require, same, shown, unlike
from kras_plugins.testing.checks.subject import Subject

if TYPE_CHECKING:
    from kras_plugins.contracts.backend import Arrays, Backend, Infer

KIND = "backend"
RUN_ONE = "Run one batch: every array's first axis is the batch, at most `batch` long"


def _open(subject: Subject) -> Backend:
    engine: Backend = subject.record.create(subject.options)
    subject.at_end(engine.close)
    require(engine.precision in LIMITS, f"a precision of {', '.join(LIMITS)}", repr(engine.precision))
    return engine


def _engine(subject: Subject) -> Backend:
    return subject.need("engine", lambda: _open(subject), "opened")


def _infer(subject: Subject) -> Infer:
    engine = _engine(subject)
    return subject.need("loaded", lambda: _load(engine), "loaded")


def _load(engine: Backend) -> Infer:
    infer = engine.load(probe.probe_model())
    for name in ("batch", "in_flight"):
        value = getattr(infer, name, None)
        require(isinstance(value, int) and value >= 1, f"{name} of 1 or more", repr(value))
    return infer


def _run(infer: Infer, pixels: Any) -> Arrays:
    return infer({"tiles": pixels})


def _usual(subject: Subject) -> Arrays:
    """Results of one full batch."""
    infer = _infer(subject)
    return subject.need("results", lambda: _run(infer, probe.tiles(infer.batch)), "numbers")


def _near(subject: Subject, got: Arrays, wanted: Arrays, what: str) -> None:
    """Within the limits of its precision."""
    limit = LIMITS[_engine(subject).precision][1]
    require(set(got) == set(wanted), f"outputs {', '.join(wanted)}", ", ".join(got))
    for name, value in wanted.items():
        array = got[name]
        right = isinstance(array, np.ndarray) and array.dtype == np.float32 and array.shape == value.shape
        require(right, f"{name} float32{list(value.shape)}", shown(array))
        require(same(array, value, limit), f"{what} (within {limit:g} of the largest)", unlike(array, value))


@check(KIND, file="contracts/backend.py", words="The arithmetic truly used")
def opened(subject: Subject) -> None:
    """It opens and says with which engine and precision it computes: results are stored under both."""
    engine = subject.once("engine", lambda: _open(subject))
    require(isinstance(engine.engine, str) and bool(engine.engine.strip()), "an engine's name", repr(engine.engine))


@check(KIND, file="contracts/backend.py", words="`batch` is the number of items per call that suits it")
def loaded(subject: Subject) -> None:
    """It loads a model and says how many items a call, and how many calls at once, suit it."""
    engine = _engine(subject)
    subject.once("loaded", lambda: _load(engine))


@check(KIND, file="parity.py", words="How far a backend's results are from PyTorch's")
def numbers(subject: Subject) -> None:
    """Every output is there under its name and is as near to PyTorch's as its precision allows."""
    infer = _infer(subject)
    pixels = probe.tiles(infer.batch)
    _near(subject, subject.once("results", lambda: _run(infer, pixels)), probe.exact(pixels), "PyTorch's numbers")


@check(KIND, file="contracts/backend.py", words=RUN_ONE)
def short_batches(subject: Subject) -> None:
    """A batch that is shorter than usual gives the same results, item by item."""
    infer, usual = _infer(subject), _usual(subject)
    for n in sorted({1, max(infer.batch - 1, 1)}):
        wanted = {name: array[:n] for name, array in usual.items()}
        _near(subject, _run(infer, probe.tiles(infer.batch)[:n]), wanted, f"the same from a batch of {n}")


@check(KIND, file="store.py", words="every costly result is a folder named by the sha256 of what it was made from")
def deterministic(subject: Subject) -> None:
    """The same batch gives the same numbers again, to the last bit."""
    infer, usual = _infer(subject), _usual(subject)
    again = _run(infer, probe.tiles(infer.batch))
    for name, array in usual.items():
        require(same(again[name], array), f"equal {name}", unlike(again[name], array))


@check(KIND, file="data.py", words="Arrays are never modified after they were made")
def results_kept(subject: Subject) -> None:
    """Results stay as they are when the next batch is run, and so do the arrays that were given."""
    infer = _infer(subject)
    _usual(subject)
    pixels = probe.tiles(infer.batch)
    given = pixels.copy()
    first = _run(infer, given)
    before = {name: array.copy() for name, array in first.items()}
    _run(infer, 255 - pixels)
    require(same(given, pixels), "an input that is not written to", unlike(given, pixels))
    for name, array in before.items():
        require(same(first[name], array), f"{name} as it was before the next call", unlike(first[name], array))


@check(KIND, file="contracts/backend.py", words="callable from many threads at once")
def many_threads(subject: Subject) -> None:
    """Called from more threads than it wants, each gets the results of its own batch."""
    infer = _infer(subject)
    _usual(subject)
    batches = [np.roll(probe.tiles(infer.batch), i, axis=1) for i in range(8)]
    alone = [_run(infer, b) for b in batches]
    with ThreadPoolExecutor(infer.in_flight + 2) as pool:
        together = list(pool.map(lambda b: _run(infer, b), batches * 4))
    for i, got in enumerate(together):
        for name, array in alone[i % 8].items():
            require(same(got[name], array), f"the {name} that one thread gets", unlike(got[name], array))


@check(KIND, file="contracts/backend.py", words="raises BackendError when weights or engine are missing")
def missing_weights_told(subject: Subject) -> None:
    """A model whose weights are not there is a BackendError that says so."""
    engine = _engine(subject)
    _infer(subject)
    absent = Weights(source=str(subject.folder / "absent.safetensors"), licence="none")
    with refused("a model without weights", BackendError, came=lambda: "a loaded model"):
        infer = engine.load(replace(probe.probe_model(), name="conformance_absent", weights=absent))
        _run(infer, probe.tiles(1))


@check(KIND, file="contracts/backend.py", words="raises BackendError")
def wrong_input_told(subject: Subject) -> None:
    """Arrays of another shape, or under another name, are an error with a message."""
    infer = _infer(subject)
    _usual(subject)
    with refused("tiles of another size", KrasError, ValueError, came=lambda: "results"):
        _run(infer, probe.tiles(1)[:, :-3])
    with refused("an input of another name", KrasError, ValueError, KeyError, came=lambda: "results"):
        infer({"no_such_input": probe.tiles(1)})
    got = _run(infer, probe.tiles(1))
    require(same(got["features"], _usual(subject)["features"][:1], 1e-2), "right results after that", "others")


@check(KIND, file="contracts/backend.py", words="for the manifest; may be empty")
def reports(subject: Subject) -> None:
    """`report` gives what can be written into a manifest, as JSON."""
    engine = _engine(subject)
    _usual(subject)
    found = engine.report()
    require(isinstance(found, Mapping), "a mapping", shown(found))
    json.dumps(dict(found), allow_nan=False)


@check(KIND, file="contracts/backend.py", words="calling it twice, or while it is used, is harmless")
def closes(subject: Subject) -> None:
    """Closing it twice, or while it is used, is harmless; afterwards a call gives right results or a KrasError."""
    _usual(subject)
    engine = _open(subject)
    infer = engine.load(probe.probe_model())
    pixels, wanted = probe.tiles(infer.batch), _usual(subject)
    wrong: list[str] = []

    def use(_: int) -> None:
        for _ in range(20):
            try:
                got = _run(infer, pixels)
            except KrasError:
                return
            except Exception as e:  # noqa: BLE001 - the check tells it
                wrong.append(f"{type(e).__name__}: {e}")
                return
            if not same(got["features"], wanted["features"], 1e-2):
                wrong.append("other results")

    threads = [threading.Thread(target=use, args=(i,), daemon=True) for i in range(2)]
    for thread in threads:
        thread.start()
    engine.close()
    engine.close()
    for thread in threads:
        thread.join(30)
    use(0)
    require(not any(t.is_alive() for t in threads), "calls to end when it is closed", "one that waits for ever")
    require(not wrong, "right results or a KrasError", wrong[:1])
