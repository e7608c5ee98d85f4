"""Blocks of `gpu.py` that need PyTorch and timm alone: how networks compute on a device, without any of `kras`."""

from __future__ import annotations

import os
import platform
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch
from gpu_networks import DTYPES, SUBJECTS, Run, Subject, draw, exact, precisions, prepared, subjects
from gpu_results import Row
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from gpu import Bench

LIMITS = {"f32": 0.99999, "bf16": 0.999, "f16": 0.9995, "bf16 throughout": 0.99}
"""Least cosine of any tile's output: those of `kras model check` (docs/decisions/0007), a looser one for comparison."""
PEAKS = {"B200": 2250, "H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L40": 181, "L4": 121}
"""Dense bf16 TFLOP/s by NVIDIA's data sheets; the first name contained in the device's name counts."""


def on_cuda(device: str) -> bool:
    return device.startswith("cuda")


def wait(device: str) -> None:
    if on_cuda(device):
        torch.cuda.synchronize(device)


def a_second(work: Callable[[], object], items: int, bench: Bench) -> float:
    """Items per second of repeated work, after some runs that are not counted."""
    together = 1 if bench.small else 4
    for _ in range(together):
        work()
    wait(bench.device)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < bench.seconds:
        for _ in range(together):
            work()
        wait(bench.device)
        done += together * items
    return done / (time.perf_counter() - began)


def versions(bench: Bench) -> Iterator[Row]:
    found: Row = {"device": platform.processor() or platform.machine()}
    if on_cuda(bench.device):
        card = torch.cuda.get_device_properties(bench.device)
        found = {"device": card.name, "capability": f"{card.major}.{card.minor}", "GB": card.total_memory / 1e9}
        found |= {"multiprocessors": card.multi_processor_count, "bf16": torch.cuda.is_bf16_supported()}
        found |= {"CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version(), "driver": driver()}
    found |= {"cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()}
    yield found | {"Python": platform.python_version(), **{p: metadata.version(p) for p in ("torch", "timm", "numpy")}}


def driver() -> str:
    """The driver's version according to nvidia-smi."""
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=30).stdout.split("\n")[0] or "unknown"
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


def agreement(bench: Bench) -> Iterator[Row]:
    for subject in subjects(bench):
        tiles = draw(subject, 3 if bench.small else 32)
        few = tiles[: 2 if bench.small else 4]
        on_cpu = deepcopy(exact(subject, bench.device)).cpu()
        with torch.inference_mode():
            wanted = on_cpu(few)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        there = tiles.to(bench.device)
        for precision in precisions(subject):
            run = prepared(subject, precision, bench.device)
            got, again = run(there), run(there)
            alone = [torch.cat(parts) for parts in zip(*(run(t[None]) for t in there[: len(few)]), strict=True)]
            pairs = [far(g[: len(few)], w) for g, w in zip(got, wanted, strict=True)]
            cosine, error = min(c for c, _ in pairs), max(e for _, e in pairs)
            yield {
                "model": subject.name,
                "precision": precision,
                "1 - cosine": 1 - cosine,
                "relative error": error,
                "same bits again": all(map(torch.equal, got, again)),
                "same bits alone": all(torch.equal(g[: len(few)], a) for g, a in zip(got, alone, strict=True)),
                "ok": cosine >= LIMITS[precision] and all(bool(torch.isfinite(g).all()) for g in got),
            }


def far(got: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Least cosine of any tile, and largest difference over the largest value."""
    a, b = got.double().cpu().flatten(1), wanted.double().cpu().flatten(1)
    near = torch.where((a == b).all(1), 1.0, F.cosine_similarity(a, b))  # two maps of zeros are alike
    return min(1.0, near.min().item()), ((a - b).abs().max() / b.abs().max().clamp(min=1e-6)).item()


def peaks(bench: Bench) -> Iterator[Row]:
    side = product_side(bench)
    for name in ("f32", "tf32", "bf16", "f16"):
        if name == "tf32" and not on_cuda(bench.device):
            continue
        rate = matrix_rate(bench.device, name, bench)
        known = published(bench.device) if name in ("bf16", "f16") else None
        share = {"of the data sheet": rate / known} if known else {}
        yield {"what": f"{name} product of {side} x {side}", "TFLOP/s": rate, **share}
    if on_cuda(bench.device):
        size = 1 << 30
        card = torch.empty(size, dtype=torch.uint8, device=bench.device)
        other = torch.empty_like(card)
        for pinned in (True, False):
            host = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
            copies = {"to": lambda h=host: card.copy_(h, non_blocking=True)}
            copies["from"] = lambda h=host: h.copy_(card, non_blocking=True)
            for way, copy in copies.items():
                what = f"copy {way} the card, {'pinned' if pinned else 'pageable'}"
                yield {"what": what, "GB/s": a_second(copy, size, bench) / 1e9}
        rate = a_second(lambda: other.copy_(card), 2 * size, bench)
        yield {"what": "copy on the card, read and written", "GB/s": rate / 1e9}


def product_side(bench: Bench) -> int:
    return 256 if bench.small else 8192


@cache
def matrix_rate(device: str, precision: str, bench: Bench) -> float:
    """TFLOP/s of a large product of random matrices."""
    side, dtype = product_side(bench), DTYPES.get(precision, torch.float32)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    rate = a_second(lambda: a @ b, 1, bench) * 2 * side**3 / 1e12
    torch.backends.cuda.matmul.allow_tf32 = False
    return rate


def published(device: str) -> float | None:
    """Dense bf16 TFLOP/s of the data sheet, where it is known."""
    name = torch.cuda.get_device_name(device) if on_cuda(device) else ""
    return next((float(rate) for part, rate in PEAKS.items() if part in name), None)


@cache
def operations(subject: Subject, device: str) -> float:
    """Floating-point operations of one tile, two for each multiply-add."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    # Plain attention, which the counter knows on every device.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        exact(subject, device)(draw(subject, 1).to(device))
    return float(counter.get_total_flops())


def rates(bench: Bench) -> Iterator[Row]:
    for subject in subjects(bench):
        middle = subject.batches[len(subject.batches) // 2]
        points = [("bf16", batch) for batch in subject.batches]
        points += [(p, middle) for p in precisions(subject) if p != "bf16"]
        for precision, batch in points:
            yield rate_of(subject, precision, batch, bench)
            if time.time() > bench.until:
                return


def rate_of(subject: Subject, precision: str, batch: int, bench: Bench) -> Row:
    row: Row = {"model": subject.name, "precision": precision, "batch": batch}
    run, tiles = prepared(subject, precision, bench.device), draw(subject, batch).to(bench.device)
    if on_cuda(bench.device):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(bench.device)
        before = torch.cuda.memory_allocated(bench.device)
    try:
        row["tiles/s"] = a_second(lambda: run(tiles), batch, bench)
    except torch.OutOfMemoryError:
        return row | {"note": "not enough memory"}
    reached = row["tiles/s"] * operations(subject, bench.device) / 1e12
    row |= {"TFLOP/s": reached, "of the product": reached / matrix_rate(bench.device, precision.split()[0], bench)}
    if on_cuda(bench.device):
        row["GB of the batch"] = (torch.cuda.max_memory_allocated(bench.device) - before) / 1e9
        weights = sum(p.numel() for p in exact(subject, bench.device).parameters())
        row["GB of weights"] = weights * DTYPES[precision].itemsize / 1e9
    if precision != "f32" and (known := published(bench.device)):
        row["of the data sheet"] = reached / known
    return row


class Graph:
    """A CUDA graph of one batch: `tiles` is its input, `made` its outputs."""

    def __init__(self, run: Run, tiles: Tensor, stream: torch.cuda.Stream) -> None:
        self.tiles = tiles
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run(tiles)
        stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self.made = run(tiles)

    def __call__(self) -> tuple[Tensor, ...]:
        self._graph.replay()
        return self.made


def graphs(bench: Bench) -> Iterator[Row]:
    for subject in (SUBJECTS[0], SUBJECTS[3], SUBJECTS[1]):
        run = prepared(subject, "bf16", bench.device)
        for batch in subject.batches[:2]:
            first, second = (draw(subject, batch, seed).to(bench.device) for seed in (1, 2))
            graph = Graph(run, first.clone(), torch.cuda.Stream(bench.device))
            same = []
            for tiles in (second, first):  # other tiles than those of the capture
                graph.tiles.copy_(tiles)
                same.append(all(map(torch.equal, graph(), run(tiles))))
            eager, replayed = (a_second(work, batch, bench) for work in (lambda r=run, t=first: r(t), graph))
            row = {"model": subject.name, "batch": batch, "eager tiles/s": eager, "graph tiles/s": replayed}
            yield row | {"same bits": all(same), "ok": all(same)}


class Slots:
    """Buffers of one batch each: a call takes free ones, copies in, computes, copies out."""

    def __init__(self, run: Run, shape: tuple[int, ...], count: int, device: str, pinned: bool, graph: bool) -> None:
        self._run, self._device = run, device
        self._free: queue.SimpleQueue[tuple[Tensor, Any, Any]] = queue.SimpleQueue()
        for _ in range(count):
            buffer = torch.zeros(shape, dtype=torch.uint8, pin_memory=pinned)
            stream = torch.cuda.Stream(device) if on_cuda(device) else None
            made = Graph(run, buffer.to(device), stream) if graph and stream else None
            self._free.put((buffer, stream, made))

    def __call__(self, tiles: Tensor) -> Tensor:
        buffer, stream, graph = self._free.get()
        try:
            buffer[: len(tiles)].copy_(tiles)
            buffer[len(tiles) :].zero_()
            if stream is None:
                return self._run(buffer)[0][: len(tiles)].clone()
            with torch.cuda.stream(stream):
                if graph is None:
                    made = self._run(buffer.to(self._device, non_blocking=True))[0]
                else:
                    graph.tiles.copy_(buffer, non_blocking=True)
                    made = graph()[0]
                host = torch.empty(made.shape, pin_memory=True).copy_(made, non_blocking=True)
            stream.synchronize()
            return host[: len(tiles)].clone()
        finally:
            self._free.put((buffer, stream, graph))


def slots(bench: Bench) -> Iterator[Row]:
    subject = subjects(bench)[0]
    batch = 2 if bench.small else 256
    run, cuda = prepared(subject, "bf16", bench.device), on_cuda(bench.device)
    ways = [(True, True), (True, False), (False, False)] if cuda else [(False, False)]
    for count in (2, 1, 3, 4) if cuda else (1, 2):
        for pinned, graph in ways:
            made = Slots(run, (batch, subject.side, subject.side, 3), count, bench.device, pinned, graph)
            yield {"slots": count, "pinned": pinned, "graph": graph, **busy(made, subject, batch, count + 1, bench)}


def busy(infer: Callable[[Tensor], Tensor], subject: Subject, batch: int, callers: int, bench: Bench) -> Row:
    """Tiles per second of several threads, each with its own tiles and their known results."""
    tiles = [draw(subject, batch, seed) for seed in range(callers)]
    wanted = [infer(t) for t in tiles]
    wrong = [0] * callers
    done = [0] * callers
    began = time.perf_counter()

    def call(i: int) -> None:
        while time.perf_counter() - began < 2 * bench.seconds:
            wrong[i] += not torch.equal(infer(tiles[i]), wanted[i])
            done[i] += batch

    threads = [threading.Thread(target=call, args=(i,)) for i in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = sum(done) / (time.perf_counter() - began)
    short = torch.equal(infer(tiles[0][:1]), wanted[0][:1])
    return {"callers": callers, "tiles/s": rate, "wrong": sum(wrong), "ok": sum(wrong) == 0 and short}


def memory(bench: Bench) -> Iterator[Row]:
    subject, cuda = subjects(bench)[0], on_cuda(bench.device)
    run, tiles = prepared(subject, "bf16", bench.device), draw(subject, 2 if bench.small else 256).to(bench.device)
    before = run(tiles)
    taken = filled(bench.device) if cuda else None
    try:
        run(draw(subject, 4096).to(bench.device)) if cuda else torch.empty(2**50, dtype=torch.uint8)
        said = "nothing"
    except RuntimeError as e:
        said = type(e).__name__
    del taken
    same = all(map(torch.equal, run(tiles), before))
    yield {"raised": said, "same bits behind it": same, "ok": same and said == MEMORY_ERRORS[cuda]}


MEMORY_ERRORS = ("RuntimeError", "OutOfMemoryError")
"""What PyTorch raises on a CPU, and on a card."""


def filled(device: str, left: int = 1 << 30) -> Tensor:
    """A tensor that takes all of a card's memory except `left` bytes."""
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return torch.empty(free - left, dtype=torch.uint8, device=device)


def compiled(bench: Bench) -> Iterator[Row]:
    subject, batch = SUBJECTS[0], 256
    tiles, plain = draw(subject, batch).to(bench.device), prepared(subject, "bf16", bench.device)
    network = torch.compile(plain)
    began = time.perf_counter()
    got = network(tiles)
    wait(bench.device)
    row: Row = {"model": subject.name, "batch": batch, "compiling s": time.perf_counter() - began}
    row |= {"eager tiles/s": a_second(lambda: plain(tiles), batch, bench)}
    row |= {"compiled tiles/s": a_second(lambda: network(tiles), batch, bench)}
    cosine, _ = far(got[0], plain(tiles)[0])
    yield row | {"1 - cosine": 1 - cosine, "ok": cosine >= LIMITS["bf16"]}
