"""Checks of backends: a small network gives the same results as in PyTorch, from any thread, until it is closed."""

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
from kras_plugins.models.export import error
from kras_plugins.probing.parity import LIMITS
from kras_plugins.testing.checks import probe
from kras_plugins.testing.checks.candidate import Candidate
from kras_plugins.testing.checks.rule import check, refused, require, same, shown, unlike

if TYPE_CHECKING:
    from kras_plugins.contracts.backend import Arrays, Backend, Infer

KIND = "backend"
RUN_ONE = "Run one batch: every array's first axis is the batch, at most `batch` long"


def _open(candidate: Candidate) -> Backend:
    engine: Backend = candidate.record.create(candidate.options)
    candidate.at_end(engine.close)
    require(engine.precision in LIMITS, f"a precision of {', '.join(LIMITS)}", repr(engine.precision))
    return engine


def _engine(candidate: Candidate) -> Backend:
    return candidate.need("engine", lambda: _open(candidate), "opened")


def _infer(candidate: Candidate) -> Infer:
    engine = _engine(candidate)
    return candidate.need("loaded", lambda: _load(engine), "loaded")


def _load(engine: Backend) -> Infer:
    infer = engine.load(probe.probe_model())
    for name in ("batch", "in_flight"):
        value = getattr(infer, name, None)
        require(isinstance(value, int) and value >= 1, f"{name} of 1 or more", repr(value))
    return infer


def _run(infer: Infer, pixels: Any) -> Arrays:
    return infer({"tiles": pixels})


def _usual(candidate: Candidate) -> Arrays:
    """Results of one full batch."""
    infer = _infer(candidate)
    return candidate.need("results", lambda: _run(infer, probe.tiles(infer.batch)), "numbers")


def _near(candidate: Candidate, got: Arrays, wanted: Arrays, what: str) -> None:
    """Require results within the limits of its precision."""
    limit = LIMITS[_engine(candidate).precision][1]
    require(set(got) == set(wanted), f"outputs {', '.join(wanted)}", ", ".join(got))
    for name, value in wanted.items():
        array = got[name]
        right = isinstance(array, np.ndarray) and array.dtype == value.dtype and array.shape == value.shape
        require(right, f"{name} {shown(value)}", shown(array))
        levels = value.dtype == np.uint8  # a number between two levels may be rounded to either
        near = error(array, value) <= limit + 1 / 255 if levels else same(array, value, limit)
        require(near, f"{what} (within {limit:g} of the largest)", unlike(array, value))


@check(KIND, file="contracts/backend.py", words="The arithmetic truly used")
def opened(candidate: Candidate) -> None:
    """It opens and reports the engine and precision that it computes with: results are stored under both."""
    engine = candidate.once("engine", lambda: _open(candidate))
    require(isinstance(engine.engine, str) and bool(engine.engine.strip()), "an engine's name", repr(engine.engine))


@check(KIND, file="contracts/backend.py", words="`batch` is the number of items per call that suits it")
def loaded(candidate: Candidate) -> None:
    """It loads a model and reports how many items per call, and how many calls at once, suit it."""
    engine = _engine(candidate)
    candidate.once("loaded", lambda: _load(engine))


@check(KIND, file="probing/parity.py", words="How far a backend's results are from PyTorch's")
def numbers(candidate: Candidate) -> None:
    """Every output is there under its name and as close to PyTorch's as its precision allows."""
    infer = _infer(candidate)
    pixels = probe.tiles(infer.batch)
    _near(candidate, candidate.once("results", lambda: _run(infer, pixels)), probe.exact(pixels), "PyTorch's numbers")


@check(KIND, file="contracts/backend.py", words=RUN_ONE)
def short_batches(candidate: Candidate) -> None:
    """A batch shorter than usual gives the same results, item by item."""
    infer, usual = _infer(candidate), _usual(candidate)
    for n in sorted({1, max(infer.batch - 1, 1)}):
        wanted = {name: array[:n] for name, array in usual.items()}
        _near(candidate, _run(infer, probe.tiles(infer.batch)[:n]), wanted, f"the same from a batch of {n}")


@check(KIND, file="store.py", words="every costly result is a folder named by the sha256 of what it was made from")
def deterministic(candidate: Candidate) -> None:
    """The same batch gives the same numbers again, to the last bit."""
    infer, usual = _infer(candidate), _usual(candidate)
    again = _run(infer, probe.tiles(infer.batch))
    for name, array in usual.items():
        require(same(again[name], array), f"equal {name}", unlike(again[name], array))


@check(KIND, file="data.py", words="Arrays are never modified after they were made")
def results_kept(candidate: Candidate) -> None:
    """Results stay unchanged when the next batch is run, and so do the input arrays."""
    infer = _infer(candidate)
    _usual(candidate)
    pixels = probe.tiles(infer.batch)
    given = pixels.copy()
    first = _run(infer, given)
    before = {name: array.copy() for name, array in first.items()}
    _run(infer, 255 - pixels)
    require(same(given, pixels), "an input that is not written to", unlike(given, pixels))
    for name, array in before.items():
        require(same(first[name], array), f"{name} as it was before the next call", unlike(first[name], array))


@check(KIND, file="contracts/backend.py", words="callable from many threads at once")
def many_threads(candidate: Candidate) -> None:
    """When called from more threads than it asks for, each thread gets the results of its own batch."""
    infer = _infer(candidate)
    _usual(candidate)
    batches = [np.roll(probe.tiles(infer.batch), i, axis=1) for i in range(8)]
    alone = [_run(infer, b) for b in batches]
    with ThreadPoolExecutor(infer.in_flight + 2) as pool:
        together = list(pool.map(lambda b: _run(infer, b), batches * 4))
    for i, got in enumerate(together):
        for name, array in alone[i % 8].items():
            require(same(got[name], array), f"the {name} that one thread gets", unlike(got[name], array))


@check(KIND, file="contracts/backend.py", words="raises BackendError when weights or engine are missing")
def missing_weights_told(candidate: Candidate) -> None:
    """A model whose weights are missing raises a BackendError that says so."""
    engine = _engine(candidate)
    _infer(candidate)
    absent = Weights(source=str(candidate.folder / "absent.safetensors"), licence="none")
    with refused("a model without weights", BackendError, came=lambda: "a loaded model"):
        infer = engine.load(replace(probe.probe_model(), name="conformance_absent", weights=absent))
        _run(infer, probe.tiles(1))


@check(KIND, file="contracts/backend.py", words="raises BackendError")
def wrong_input_told(candidate: Candidate) -> None:
    """Arrays of another shape, or under another name, raise an error with a message."""
    infer = _infer(candidate)
    _usual(candidate)
    with refused("tiles of another size", KrasError, ValueError, came=lambda: "results"):
        _run(infer, probe.tiles(1)[:, :-3])
    with refused("an input of another name", KrasError, ValueError, KeyError, came=lambda: "results"):
        infer({"no_such_input": probe.tiles(1)})
    got = _run(infer, probe.tiles(1))
    require(same(got["features"], _usual(candidate)["features"][:1], 1e-2), "right results after that", "others")


@check(KIND, file="contracts/backend.py", words="for the manifest; may be empty")
def reports(candidate: Candidate) -> None:
    """`report` returns values that can be written into a manifest as JSON."""
    engine = _engine(candidate)
    _usual(candidate)
    found = engine.report()
    require(isinstance(found, Mapping), "a mapping", shown(found))
    json.dumps(dict(found), allow_nan=False)


@check(KIND, file="contracts/backend.py", words="calling it twice, or while it is used, is harmless")
def closes(candidate: Candidate) -> None:
    """Closing it twice, or while it is used, is harmless; a later call gives correct results or a KrasError."""
    _usual(candidate)
    engine = _open(candidate)
    infer = engine.load(probe.probe_model())
    pixels, wanted = probe.tiles(infer.batch), _usual(candidate)
    wrong: list[str] = []

    def use(_: int) -> None:
        for _ in range(20):
            try:
                got = _run(infer, pixels)
            except KrasError:
                return
            except Exception as e:  # noqa: BLE001 - the check reports it
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
    require(not any(t.is_alive() for t in threads), "calls to end when it is closed", "a call that waits for ever")
    require(not wrong, "right results or a KrasError", wrong[:1])
