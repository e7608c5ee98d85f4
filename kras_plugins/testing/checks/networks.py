"""Checks of the networks that extractors and profilers describe: what the host and its backends do with a ModelSpec."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from kras_plugins.contracts.model import ModelSpec
from kras_plugins.data import TileSpec
from kras_plugins.host.config import Config
from kras_plugins.host.manager import discover
from kras_plugins.models.export import build_module, is_ready_made
from kras_plugins.models.weights import model_digest
from kras_plugins.slides.scale import PLAUSIBLE_MPP
from kras_plugins.testing.checks.candidate import Candidate
from kras_plugins.testing.checks.outcome import Failed, NotApplicable, told
from kras_plugins.testing.checks.reference import present
from kras_plugins.testing.checks.rule import check, require, unlike
from kras_plugins.testing.checks.tiles import LIVE, spec_of, tiles

if TYPE_CHECKING:
    import torch

MODELS_SECONDS = 20.0
"""How long `kras model list` may wait for one plug-in, including the import of torch."""

DTYPES = ("uint8", "float32")


def networks(candidate: Candidate) -> tuple[ModelSpec, ...]:
    """The specs. Raises NotApplicable without any."""
    if not candidate.specs:
        raise NotApplicable("it has no models")
    return candidate.specs


@check(*LIVE, file="data.py", words="`px` pixels a side at `mpp` micrometres per pixel")
def tile_described(candidate: Candidate) -> None:
    """`tile` says which tiles it needs: whole pixels, a plausible resolution, the same in every call."""
    options = candidate.options
    spec = candidate.once("tile", lambda: candidate.record.tile(options))
    require(isinstance(spec, TileSpec), "a TileSpec", repr(spec))
    require(isinstance(spec.px, int) and spec.px > 0, "whole pixels a side, more than none", repr(spec.px))
    require(isinstance(spec.halo_px, int) and spec.halo_px >= 0, "a halo in whole pixels", repr(spec.halo_px))
    low, high = PLAUSIBLE_MPP
    require(low <= spec.mpp <= high, f"{low:g} to {high:g} µm per pixel", repr(spec.mpp))
    require(candidate.record.tile(options) == spec, "the same at a second call", repr(candidate.record.tile(options)))


@check(*LIVE, file="contracts/model.py", words="uint8 NHWC in, float32 or uint8 out")
def models_described(candidate: Candidate) -> None:
    """`models` describes its networks: names, dtypes, shapes, license, and all that their results depend on."""
    specs = candidate.once("specs", lambda: tuple(candidate.record.models(candidate.options)))
    require(all(isinstance(s, ModelSpec) for s in specs), "ModelSpecs", repr(specs))
    names = [s.name for s in specs]
    require(len(set(names)) == len(names), "each name once", ", ".join(names))
    for spec in specs:
        usable = re.fullmatch(r"[A-Za-z0-9][\w.-]*", spec.name) is not None
        require(usable, "a name that can be a folder's", repr(spec.name))
        for what, tensors in (("input", spec.inputs), ("output", spec.outputs)):
            require(len(tensors) > 0, f"an {what}", "none")
            for t in tensors:
                require(t.dtype in DTYPES, f"uint8 or float32 for {what} {t.name}", t.dtype)
                sized = all(isinstance(n, int) and n > 0 for n in t.shape)
                require(sized, f"{what} {t.name} with positive sizes, without the batch axis", t.shape)
        first = spec.inputs[0]
        image = first.dtype == "uint8" and len(first.shape) == 3 and first.shape[2] == 3
        require(image, "uint8[h w 3] as first input, normalization inside", f"{first.dtype}{list(first.shape)}")
        tile = spec_of(candidate)
        side = tile.px + 2 * tile.halo_px
        require(first.shape[:2] == (side, side), f"an input of the tile's {side} px a side", list(first.shape))
        require(spec.max_batch >= 1, "max_batch of 1 or more", spec.max_batch)
        require(bool(spec.weights.licence.strip()), "a license of the weights", "none")
        try:
            digest = spec.transform_hash
        except (TypeError, ValueError) as e:
            raise Failed("a transform of JSON values", f"{type(e).__name__}: {e}") from e
        again = next((s for s in candidate.record.models(candidate.options) if s.name == spec.name), None)
        require(again is not None and again.transform_hash == digest, "the same at a second call", again)


@check(*LIVE, file="contracts/model.py", words="downloaded by the user through `kras model fetch`")
def models_cheap(candidate: Candidate) -> None:
    """`tile`, `dim` and `models` answer quickly, build nothing and ask no server: a list of plug-ins calls them all."""
    began = time.monotonic()
    with _no_network() as asked:
        candidate.record.tile(candidate.options)
        candidate.record.models(candidate.options)
        if candidate.kind == "extractor":
            candidate.record.length(candidate.options)
    lasted = time.monotonic() - began
    require(not asked, "no connection", f"one to {', '.join(asked)}")
    require(lasted <= MODELS_SECONDS, f"an answer within {MODELS_SECONDS:g} s", f"one after {lasted:.1f} s")


@check(*LIVE, file="contracts/model.py", words="exported to one ONNX file with the normalization inside")
def exported(candidate: Candidate) -> None:
    """Each network can be exported to ONNX, with any batch size, and gives the same results there as in PyTorch."""
    for spec in networks(candidate):
        present(spec)
        try:
            candidate.onnx(spec)
        except Exception as e:
            raise Failed(f"an ONNX file of {spec.name} that agrees with PyTorch", told(e)) from e


@check(*LIVE, file="contracts/model.py", words="seeded random weights")
def builds_alike(candidate: Candidate) -> None:
    """`build` returns the same network each time, whatever random numbers were drawn before: its digest names it."""
    specs = networks(candidate)
    import torch

    for spec in specs:
        present(spec)
        if is_ready_made(spec):
            raise NotApplicable("the weights are an ONNX file: build is never called")
        states = []
        for seed in (0, 1):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                states.append(_numbers(build_module(spec)))
        for name, values in states[0].items():
            other = states[1].get(name)
            require(
                other is not None and np.array_equal(values, other, equal_nan=True),
                f"the same {name} at every build of {spec.name}",
                "no such tensor" if other is None else unlike(values, other),
            )
        digests = {model_digest(s) for _ in range(2) for s in candidate.record.models(candidate.options)}
        require(len(digests) == len(candidate.specs), "one digest a model", f"{len(digests)} of {len(candidate.specs)}")


@check(*LIVE, file="probing/parity.py", words="how far they may be")
def local_parity(candidate: Candidate) -> None:
    """Backend `local`, in the precision that it uses here, is as close to PyTorch as required."""
    _parity(candidate, "local", Config())


@check(*LIVE, file="probing/parity.py", words="how far they may be")
def triton_parity(candidate: Candidate) -> None:
    """A Triton server with the models is as close to PyTorch and to `local` as required."""
    networks(candidate)
    if not candidate.triton:
        raise NotApplicable("no server is named (--triton HOST:PORT)")
    _parity(candidate, "triton", Config({"backend": {"triton": {"url": candidate.triton, "patience_s": 10.0}}}))


def _parity(candidate: Candidate, backend: str, config: Config) -> None:
    from kras_plugins.probing.parity import compare

    for spec in networks(candidate):
        present(spec)
        if len(spec.inputs) != 1:
            raise NotApplicable(f"{spec.name} has several inputs")
        candidate.onnx(spec)
        # Into a separate store: the code of a model named by `random:` or `builtin` may have changed since last time.
        with mock.patch.dict(os.environ, {"KRAS_CACHE": str(candidate.folder / "store")}):
            rows = compare(spec, tiles(candidate), backend, discover(), config, candidate.id)
        for row in rows:
            require(
                row.passed,
                f"{row.model} {row.output} with a cosine to {row.against} of at least {row.cosine_limit:g} "
                f"and differences of at most {row.error_limit:g} of the largest value",
                f"{row.cosine:.6f} and {row.error:.2g}",
            )


def _numbers(module: torch.nn.Module) -> dict[str, Any]:
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


@contextmanager
def _no_network() -> Iterator[list[str]]:
    """Refuse connections meanwhile and record their targets, as libraries swallow the error."""
    asked: list[str] = []

    def refuse(_socket: Any, address: Any) -> None:
        asked.append(str(address))
        raise OSError(f"no connection to {address}: `models` asks no server")

    def resolve(host: Any, *_: Any, **__: Any) -> Any:
        asked.append(str(host))
        raise OSError(f"no address of {host}: `models` asks no server")

    with (
        mock.patch.object(socket.socket, "connect", refuse),
        mock.patch.object(socket.socket, "connect_ex", refuse),
        mock.patch.object(socket, "getaddrinfo", resolve),
    ):
        yield asked
