"""What a Triton server costs over running in process: `make bench`, or `python benchmarks/serving.py --help`.

One run, with everything in turn and repeated, and medians. The same ViT-S/16, the same engine (OpenVINO, same
arithmetic), the same tiles in memory:

    in process   backend local, as many calls at once as it asks for
    plain        backend triton, tensors in gRPC messages
    shared       backend triton, tensors in system shared memory

The latter two run in one round with requests of 1 to 64 tiles, and with four client processes at once for the size that
the server prefers. The CPU time of the client process is compared with that of the server's processes: what the client
adds to inference.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

# This file's folder comes first on the path, where its name would hide the library `triton` from torch.
sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).resolve().parent]

SIZES = (1, 2, 4, 8, 16, 32, 64)


def spec_of(model: str) -> Any:
    from kras_plugins.host.manager import discover

    record = discover().find("extractor", "vit").record
    return record.models(record.options(model=model, weights="random:0"))[0]  # type: ignore[union-attr]


def rate(infer: Any, tiles: np.ndarray, seconds: float, size: int = 0) -> float:
    """Tiles per second through an Infer kept busy for about `seconds`."""
    size = size or infer.batch
    batch = tiles[:size]
    infer({"tiles": batch})
    began = time.perf_counter()

    def one(_: int) -> int:
        done = 0
        while time.perf_counter() - began < seconds:
            infer({"tiles": batch})
            done += size
        return done

    with ThreadPoolExecutor(infer.in_flight) as pool:
        return sum(pool.map(one, range(infer.in_flight))) / (time.perf_counter() - began)


def connect(url: str, model: str, **options: Any) -> tuple[Any, Any]:
    from kras_backend_triton import TritonOptions
    from kras_backend_triton.backend import Triton

    backend = Triton(TritonOptions(url=url, **options))
    return backend, backend.load(spec_of(model))


def client(url: str, model: str, tiles: np.ndarray, seconds: float, start: Any, told: Any) -> None:
    """One of several client processes."""
    backend, infer = connect(url, model)
    start.wait()
    told.put(rate(infer, tiles, seconds))
    backend.close()


def four_clients(url: str, model: str, tiles: np.ndarray, seconds: float) -> float:
    """Tiles per second of four clients together."""
    context = multiprocessing.get_context("spawn")
    start, told = context.Barrier(4), context.Queue()
    arguments = (url, model, tiles, seconds, start, told)
    processes = [context.Process(target=client, args=arguments) for _ in range(4)]
    for p in processes:
        p.start()
    total = sum(told.get() for _ in processes)
    for p in processes:
        p.join()
    return float(total)


def cpu_seconds(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def family(root: int) -> list[int]:
    """A process and its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found, grew = {root}, True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        grew, found = bool(more), found | more
    return sorted(found)


def measure(url: str, server: int, args: argparse.Namespace, tiles: np.ndarray, sizes: bool) -> dict[str, float]:
    """One round: every way in turn, with requests of all sizes if asked."""
    from kras_backend_local import LocalOptions, create

    found: dict[str, float] = {}
    local = create(LocalOptions())
    found[f"in process ({local.precision})"] = rate(local.load(spec_of(args.model)), tiles, args.seconds)
    for name, memory in (("plain", "off"), ("shared", "auto")):
        backend, infer = connect(url, args.model, shared_memory=memory)
        mine, theirs = time.process_time(), cpu_seconds(family(server))
        found[f"{name}, {infer.batch} tiles"] = rate(infer, tiles, args.seconds)
        mine, theirs = time.process_time() - mine, cpu_seconds(family(server)) - theirs
        found[f"{name}: client's CPU time / server's"] = mine / theirs
        found[f"{name}: requests in flight"] = infer.in_flight
        backend.close()
    for size in SIZES if sizes else ():
        backend, infer = connect(url, args.model, batch=size)
        found[f"shared, requests of {size}"] = rate(infer, tiles, args.seconds)
        backend.close()
        backend, infer = connect(url, args.model, batch=size, shared_memory="off")
        found[f"plain, requests of {size}"] = rate(infer, tiles, args.seconds)
        backend.close()
    found["shared, four clients together"] = four_clients(url, args.model, tiles, args.seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_small_patch16_224")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="time for each way in a round")
    parser.add_argument("--no-sizes", dest="sizes", action="store_false", help="only the preferred request size")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    from kras_plugins.models.repository import export_model
    from kras_plugins.serving.server import serving

    tiles = np.random.default_rng(0).integers(0, 256, (64, 224, 224, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        export_model(spec_of(args.model), Path(folder))
        with serving(Path(folder)) as server:
            rounds = [
                measure(server.url, server.process.pid, args, tiles, args.sizes and i == 0) for i in range(args.rounds)
            ]
    medians = {name: statistics.median(r[name] for r in rounds if name in r) for name in rounds[0]}
    for name, value in medians.items():
        print(f"{name:40} {value:8.3f}" if value < 1 else f"{name:40} {value:8.1f}")
    process = next(v for k, v in medians.items() if k.startswith("in process"))
    shared = next(k for k in medians if k.startswith("shared, ") and k.endswith("tiles"))
    print(f"\none client / in process (aim 0.90)       {medians[shared] / process:8.2f}")
    print(f"four clients / one client (aim 1.00)     {medians['shared, four clients together'] / medians[shared]:8.2f}")
    share = medians["shared: client's CPU time / server's"]
    print(f"client's CPU / server's (aim below 0.05) {share:8.3f}")
    if args.json:
        args.json.write_text(json.dumps({"rounds": rounds, "medians": medians}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
