"""How fast and in how much memory slides become features: `make bench`, or `python benchmarks/embed.py --help`.

One run, everything in turn and repeated, medians: these machines are noisy and only ratios taken together mean much.

    model        the network alone, on tiles already in memory
    data path    reading, decoding, resampling, focus check; a null model
    end to end   process_slide, from file to stored bag
    eager        plain PyTorch float32 fed one batch at a time by one thread of openslide.read_region
    plain read   one thread of openslide.read_region + RGB conversion, no model

`end to end` is held against what the CPU costs of model and data path allow together, 1 / (1/model + 1/data path), and
against `eager`; the data path against `plain read`; and all against the floor: operations over measured matrix rate.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data" / "slides" / "cmu_small_region.svs"
GFLOP_PER_TILE = 9.2  # ViT-S/16 at 224 px
NULL = """
from kras_plugins import ExtractorPlugin, TileSpec, hookimpl

@hookimpl
def kras_extractors():
    yield ExtractorPlugin(
        name="null", summary="no model", tile=lambda o: TileSpec(px=224, mpp=0.5), dim=lambda o: 384,
        create=lambda options, infer: lambda tiles: tiles[:, 0, :128].reshape(len(tiles), -1).astype("float32"),
    )
"""


def make_slide(path: Path, side: int) -> None:
    """A JPEG-tiled pyramid of side x side pixels at 0.5 mpp, its tiles cut from real H&E where that is there."""
    import imagecodecs
    import tifffile

    source = real_pixels()
    blocks = [
        imagecodecs.jpeg8_encode(np.ascontiguousarray(source[y : y + 256, x : x + 256]), level=85, colorspace="RGB")
        for y in range(0, source.shape[0] - 255, 256)
        for x in range(0, source.shape[1] - 255, 256)
    ]
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        level = side
        while level >= 256:
            count = (-(-level // 256)) ** 2
            tif.write(
                (blocks[i * 7 % len(blocks)] for i in range(count)),
                shape=(level, level, 3),
                dtype=np.uint8,
                tile=(256, 256),
                photometric="rgb",
                compression="jpeg",
                subfiletype=0 if level == side else 1,
                resolution=(1e4 * level / side / 0.5, 1e4 * level / side / 0.5),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
            level //= 4


def real_pixels() -> np.ndarray:
    if SHARED.is_file():
        import openslide

        with openslide.OpenSlide(str(SHARED)) as slide:
            return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    from kras_plugins.testing.slides import draw_slide

    with tempfile.TemporaryDirectory() as folder:
        import tifffile

        draw_slide(Path(folder) / "s.tif", seed=0)
        return tifffile.imread(Path(folder) / "s.tif", key=0)


def matrix_rate(dtype: str) -> float:
    """GFLOP/s of a large product in torch, best of several."""
    import torch

    a = torch.randn(2048, 2048).to(getattr(torch, dtype))
    torch.mm(a, a)
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        torch.mm(a, a)
        best = max(best, 2 * 2048**3 / (time.perf_counter() - began) / 1e9)
    return best


def rate(work: Callable[[], int]) -> float:
    began = time.perf_counter()
    return work() / (time.perf_counter() - began)


def plain_reader(path: Path, tiles: int) -> Iterator[np.ndarray]:
    import openslide

    with openslide.OpenSlide(str(path)) as slide:
        columns = slide.dimensions[0] // 224
        for i in range(tiles):
            xy = (i % columns * 224, i // columns * 224)
            yield np.asarray(slide.read_region(xy, 0, (224, 224)).convert("RGB"))


def measure(slide_path: Path, model: str, rounds: int) -> dict[str, float]:
    from concurrent.futures import ThreadPoolExecutor

    import torch

    from kras_plugins.config import load_config
    from kras_plugins.data import SlideRef, TileSpec
    from kras_plugins.execution import workers
    from kras_plugins.export import build_module
    from kras_plugins.manager import discover
    from kras_plugins.parts import open_parts
    from kras_plugins.pipeline import process_slide
    from kras_plugins.slides.qc import blurred
    from kras_plugins.slides.slide import open_slide
    from kras_plugins.slides.stream import ordered_map, stream_tiles
    from kras_plugins.slides.tiles import tile_grid
    from kras_plugins.slides.tissue import find_tissue
    from kras_plugins.store import Store

    registry = discover()
    config = load_config(None, [f"extractor.vit.model={model}", "extractor.vit.weights=random:0"])
    ref = SlideRef(patient_id="p", slide_id="bench", path=slide_path)
    found: dict[str, list[float]] = {k: [] for k in ("model", "data path", "end to end", "eager", "plain read")}
    with open_parts(registry, config, extractor="vit", profiler=None, backend="local") as parts:
        part = parts.extractor
        assert part is not None
        print(f"engine {parts.engine}, precision {parts.precision}, batch {part.batch}, in flight {part.in_flight}")
        module = build_module(part.specs[0])
        with open_slide(ref, parts.readers) as slide:
            image, mpp = slide.thumbnail(8.0)
            grid = tile_grid(slide, find_tissue(image, mpp), TileSpec(px=224, mpp=0.5))
            print(f"slide {slide.size[0]} x {slide.size[1]} px, {len(grid)} tiles")
            batches = [b.pixels for b in stream_tiles(slide, grid, batch=part.batch, threads=2)][: 256 // part.batch]

            def run_model() -> int:
                with ThreadPoolExecutor(part.in_flight) as pool:
                    return sum(len(f) for f in ordered_map(pool, part.made, batches, part.in_flight + 1))

            def run_data() -> int:
                with ThreadPoolExecutor(part.in_flight) as pool:
                    stream = stream_tiles(slide, grid, batch=part.batch, threads=os.cpu_count() or 1)
                    looked = ordered_map(pool, lambda b: blurred(b.pixels, 0.5), stream, part.in_flight + 1)
                    return sum(len(flags) for flags in looked)

            def run_whole() -> int:
                with tempfile.TemporaryDirectory() as folder, workers(Store(Path(folder)), 0) as work:
                    result = process_slide(ref, parts, work)
                    assert result.qc is not None
                    return result.qc.n_tiles

            def run_eager() -> int:
                done = 0
                reader = plain_reader(slide_path, 64)
                with torch.inference_mode():
                    while chunk := [t for _, t in zip(range(16), reader, strict=False)]:
                        done += len(module(torch.from_numpy(np.stack(chunk))))
                return done

            def run_plain() -> int:
                return sum(1 for _ in plain_reader(slide_path, len(grid)))

            jobs = {"model": run_model, "data path": run_data, "end to end": run_whole, "eager": run_eager}
            jobs["plain read"] = run_plain
            run_model()
            for _ in range(rounds):
                for name, job in jobs.items():
                    found[name].append(rate(job))
    return {name: statistics.median(values) for name, values in found.items()}


def peak_memory(side: int) -> dict[str, float]:
    """Peak memory in MB of embedding a slide of side x side px with a null model, beyond the imported libraries."""
    from kras_plugins.config import load_config
    from kras_plugins.data import SlideRef
    from kras_plugins.execution import workers
    from kras_plugins.manager import discover
    from kras_plugins.parts import open_parts
    from kras_plugins.pipeline import process_slide
    from kras_plugins.store import Store

    with tempfile.TemporaryDirectory() as folder:
        plugin, path = Path(folder) / "null.py", Path(folder) / "slide.tif"
        plugin.write_text(NULL)
        make_slide(path, side)
        registry = discover(files=[plugin])
        with open_parts(registry, load_config(None), extractor="null", profiler=None, backend="local") as parts:
            small = Path(folder) / "small.tif"
            make_slide(small, 1024)
            with workers(Store(Path(folder) / "store"), 0) as work:
                process_slide(SlideRef(patient_id="p", slide_id="s", path=small), parts, work)
                imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                began = time.perf_counter()
                result = process_slide(SlideRef(patient_id="p", slide_id="l", path=path), parts, work)
                seconds = time.perf_counter() - began
        assert result.qc is not None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"tiles": result.qc.n_tiles, "imported": imported, "beyond": peak - imported, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_small_patch16_224")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=224 * 24, help="side of the slide in pixels")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        print(json.dumps(peak_memory(args.memory)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        make_slide(path, args.side)
        rates = measure(path, args.model, args.rounds)
    for name, value in rates.items():
        print(f"{name:12} {value:8.1f} tiles/s")
    allowed = 1 / (1 / rates["model"] + 1 / rates["data path"])
    f32, bf16 = matrix_rate("float32"), matrix_rate("bfloat16")
    print(f"floor        {f32 / GFLOP_PER_TILE:8.1f} tiles/s in float32 ({f32:.0f} GFLOP/s)")
    print(f"             {bf16 / GFLOP_PER_TILE:8.1f} tiles/s in bfloat16 ({bf16:.0f} GFLOP/s)")
    print(
        f"end to end / what model and data path allow ({allowed:.1f}): {rates['end to end'] / allowed:.3f} (aim 0.95)"
    )
    print(f"end to end / eager:     {rates['end to end'] / rates['eager']:.2f} (aim 2.5)")
    print(f"data path / plain read: {rates['data path'] / rates['plain read']:.2f} (aim 1.6)")
    for side in (224 * 70, 224 * 224):
        done = subprocess.run(
            [sys.executable, __file__, "--memory", str(side)], capture_output=True, text=True, check=True
        )
        m = json.loads(done.stdout)
        print(
            f"memory, {m['tiles']} tiles: {m['beyond']:.0f} MB beyond the {m['imported']:.0f} MB of imports (aim 1500)"
        )


if __name__ == "__main__":
    main()
