"""Checks of extractors and live profilers, which both see tiles: the results that a run may rely on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.errors import BackendError, KrasError
from kras_plugins.testing.checks import scenes
from kras_plugins.testing.checks.candidate import Candidate
from kras_plugins.testing.checks.outcome import Failed, NotApplicable
from kras_plugins.testing.checks.reference import BATCH
from kras_plugins.testing.checks.rule import check, refused, require, same, shown, unlike

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import TileSpec, UInt8

    Results = Mapping[str, npt.NDArray[Any]]

LIVE = ("live extractor", "live profiler")
MANY = 7
TOLERANCE = 1e-3
"""Relative to the largest value, between batch sizes: float32 sums in another order (and far below bf16's steps)."""

TILES_IN = "uint8[tile h w 3] -> float32[tile feature]"


def spec_of(candidate: Candidate) -> TileSpec:
    """The tiles that it needs."""
    spec: TileSpec = candidate.need("tile", lambda: candidate.record.tile(candidate.options), "tile_described")
    return spec


def tiles(candidate: Candidate) -> UInt8:
    """MANY tiles of drawn tissue as the host would cut them, uint8[tile side side 3]; a writable copy."""
    spec = spec_of(candidate)
    side = spec.px + 2 * spec.halo_px
    drawn: UInt8 = candidate.once("tiles", lambda: scenes.tiles(MANY, side, spec.mpp))
    return drawn.copy()


def most(candidate: Candidate) -> int:
    """The most tiles that the host would pass at once."""
    return min((i.batch for i in candidate.infer.values()), default=BATCH)


def run(candidate: Candidate, pixels: UInt8, made: Any = None) -> Results:
    """Results for tiles, in calls of at most as many tiles as the host passes at once."""
    made = made or candidate.made
    step = most(candidate)
    parts = [_call(candidate, made, pixels[i : i + step]) for i in range(0, len(pixels), step)]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def usual(candidate: Candidate) -> Results:
    """The results for `tiles`, made once."""
    return candidate.need("results", lambda: run(candidate, tiles(candidate)), "one_tile")


def _call(candidate: Candidate, made: Any, pixels: Any) -> Results:
    if candidate.kind == "extractor":
        return {"features": made(pixels)}
    return dict(made.predict(pixels))


def _alike(got: Results, wanted: Results, expected: str, tolerance: float = 0.0) -> None:
    require(set(got) == set(wanted), expected, f"{', '.join(got)} and {', '.join(wanted)}")
    for name, array in got.items():
        require(same(array, wanted[name], tolerance), expected, f"{name}: {unlike(array, wanted[name])}")


@check(*LIVE, file="contracts/extractor.py", words="gets one Infer per model, by name, and returns a function")
def created(candidate: Candidate) -> None:
    """`create` makes it from options and one engine per model."""
    made = candidate.once("made", candidate.create)
    if candidate.kind == "extractor":
        require(callable(made), "a function", shown(made))
    else:
        require(hasattr(made, "predict") and hasattr(made, "decode"), "an object with predict and decode", shown(made))


@check(*LIVE, file="contracts/extractor.py", words=TILES_IN)
def one_tile(candidate: Candidate) -> None:
    """One tile gives one result: the last batch of a slide may be that short."""
    for name, array in run(candidate, tiles(candidate)[:1]).items():
        require(isinstance(array, np.ndarray) and len(array) == 1, f"one {name}", shown(array))


@check(*LIVE, file="contracts/extractor.py", words=TILES_IN)
def no_tiles(candidate: Candidate) -> None:
    """No tiles give no results, or an error that says so, never a made-up result."""
    try:
        got = _call(candidate, candidate.made, tiles(candidate)[:0])
    except (KrasError, ValueError) as e:
        require(bool(str(e).strip()), "an error with a message", repr(e))
        return
    for name, array in got.items():
        require(len(array) == 0, f"no {name}, or an error that says why", shown(array))


@check(*LIVE, file="data.py", words="Which tiles of a slide are looked at, in reading order")
def order_kept(candidate: Candidate) -> None:
    """Tiles in another order give the same results in that order."""
    order = np.random.default_rng(0).permutation(MANY)
    wanted = {name: array[order] for name, array in usual(candidate).items()}
    _alike(run(candidate, tiles(candidate)[order]), wanted, "each tile's result in the place of its tile", TOLERANCE)


@check(*LIVE, file="contracts/backend.py", words="the host cuts batches of this size")
def batch_size(candidate: Candidate) -> None:
    """A tile's result is the same whether 1, 2 or 7 tiles are passed at once."""
    usual(candidate)
    for size in (1, 2):
        parts = [_call(candidate, candidate.made, tiles(candidate)[i : i + size]) for i in range(0, 2 * size, size)]
        got = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        wanted = {name: array[: 2 * size] for name, array in usual(candidate).items()}
        _alike(got, wanted, f"the same results from {size} at once as from {min(MANY, most(candidate))}", TOLERANCE)


@check(*LIVE, file="store.py", words="every costly result is a folder named by the sha256 of what it was made from")
def deterministic(candidate: Candidate) -> None:
    """The same tiles give the same results again, in a second call and after a second `create`."""
    _alike(run(candidate, tiles(candidate)), usual(candidate), "equal results in a second call")
    made = candidate.create()
    _alike(run(candidate, tiles(candidate), made), usual(candidate), "equal results from a second `create`")


@check(*LIVE, file="data.py", words="Arrays are never modified after they were made")
def input_unchanged(candidate: Candidate) -> None:
    """Tiles are not modified: the host uses them afterwards."""
    given = tiles(candidate)
    run(candidate, given)
    require(same(given, tiles(candidate)), "tiles as they were", f"{unlike(given, tiles(candidate))}")


@check(*LIVE, file="contracts/extractor.py", words="callable from many threads")
def many_threads(candidate: Candidate) -> None:
    """When called from many threads at once, each thread gets the results of its own tiles."""
    usual(candidate)
    starts = [i % MANY for i in range(MANY + 1)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda i: _call(candidate, candidate.made, tiles(candidate)[i : i + 1]), starts))
    for i, results in zip(starts, got, strict=True):
        wanted = {name: array[i : i + 1] for name, array in usual(candidate).items()}
        _alike(results, wanted, "the same results as from one thread", TOLERANCE)


@check(*LIVE, file="contracts/backend.py", words="raises BackendError")
def engine_error_told(candidate: Candidate) -> None:
    """The failure of an engine (a lost server) is raised, not hidden by a made-up result."""
    if not candidate.infer:
        raise NotApplicable("it has no models")
    usual(candidate)
    for engine in candidate.infer.values():
        engine.failing = True
    try:
        got = run(candidate, tiles(candidate))
    except BackendError:
        return
    except Exception as e:
        raise Failed("the engine's BackendError", f"{type(e).__name__}: {e}") from e
    finally:
        for engine in candidate.infer.values():
            engine.failing = False
    raise Failed("the engine's BackendError", ", ".join(f"{n} {shown(a)}" for n, a in got.items()))


@check(*LIVE, file="contracts/model.py", words="Name, dtype and shape of one input or output")
def wrong_tiles_refused(candidate: Candidate) -> None:
    """Tiles of a size or dtype that its model does not accept are refused, not converted until they fit."""
    if not candidate.infer:
        raise NotApplicable("it has no ModelSpec that would state a size")
    pixels = tiles(candidate)[:1]
    for what, wrong in (("tiles of another size", pixels[:, :-8, :-8]), ("tiles in float32", pixels / np.float32(255))):
        with refused(what, came=lambda: "results"):
            _call(candidate, candidate.made, wrong)
