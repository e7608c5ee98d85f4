"""How fast and in how much memory slides become features: `make bench`, or `python benchmarks/embed.py --help`.

One run, with everything in turn and repeated, and medians: these machines are noisy, so only ratios within a run count.

    model        the network alone, on tiles already in memory
    data path    reading, decoding, resampling, focus check; a null model (and the same through reader openslide)
    end to end   process_slide, from file to stored bag
    eager        plain PyTorch float32 and timm, torchvision's ToTensor and Normalize, one batch of 16 at a time,
                 read by the same thread with openslide.read_region
    plain read   one thread of openslide.read_region + RGB conversion, no model

`end to end` is compared with what the CPU costs of model and data path allow together, 1 / (1/model + 1/data path), and
with `eager`; the data path with `plain read`; and everything with the floor: operations over measured matrix rate.
"""

from __future__ import annotations

import argparse
import json
import os
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


def make_slide(
    path: Path, side: int, pixels: np.ndarray | None = None, *, mpp: float = 0.5, codec: str = "jpeg"
) -> None:
    """An Aperio-like tiled pyramid of side x side pixels: `pixels` of `mpp`, else real H&E, repeated.

    `codec`: `jpeg`, or `jpeg2000` as Aperio writes it.
    """
    import tifffile
    from PIL import Image

    source = Image.fromarray(real_pixels() if pixels is None else pixels)
    if pixels is None and mpp < 0.4:  # real pixels are of 0.5 µm
        source = source.resize((2 * source.width, 2 * source.height))
    color = {"photometric": "ycbcr", "subsampling": (1, 1), "compression": "jpeg"}
    if codec == "jpeg2000":
        color = {"photometric": "rgb", "compression": tifffile.COMPRESSION.APERIO_JP2000_RGB}
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        level, factor = side, 1
        while level >= 256:
            blocks = encoded(np.asarray(source.reduce(factor)) if factor > 1 else np.asarray(source), codec)
            tif.write(
                (blocks[i * 7 % len(blocks)] for i in range((-(-level // 256)) ** 2)),
                shape=(level, level, 3),
                dtype=np.uint8,
                tile=(256, 256),
                **color,
                subfiletype=0 if level == side else 1,
                resolution=(1e4 / mpp / factor, 1e4 / mpp / factor),
                resolutionunit="CENTIMETER",
                metadata=None,
                description=f"Aperio Image Library v11.2.1\r\nbenchmark|AppMag = {20 if mpp > 0.4 else 40}|MPP = {mpp}",
            )
            level, factor = level // 4, factor * 4


def encoded(pixels: np.ndarray, codec: str = "jpeg") -> list[bytes]:
    """256 x 256 blocks of pixels as JPEG or JPEG 2000; pixels are repeated where they are smaller."""
    import imagecodecs

    repeats = [max(1, -(-256 // n)) for n in pixels.shape[:2]]
    pixels = np.tile(pixels, (*repeats, 1))

    def block(of: np.ndarray) -> bytes:
        if codec == "jpeg":
            return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(of), level=85, subsampling="444"))
        return bytes(imagecodecs.jpeg2k_encode(np.ascontiguousarray(of), level=40, codecformat="j2k", reversible=False))

    return [
        block(pixels[y : y + 256, x : x + 256])
        for y in range(0, pixels.shape[0] - 255, 256)
        for x in range(0, pixels.shape[1] - 255, 256)
    ]


def real_pixels() -> np.ndarray:
    if SHARED.is_file():
        import openslide

        with openslide.OpenSlide(str(SHARED)) as slide:
            return np.asarray(slide.read_region((770, 1500), 0, (512, 1280)).convert("RGB"))  # mostly tissue
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

    import timm
    import torch
    from torchvision import transforms

    from kras_plugins.data import SlideRef, TileSpec
    from kras_plugins.host.config import load_config
    from kras_plugins.host.manager import discover
    from kras_plugins.host.parts import open_parts
    from kras_plugins.processing.execution import workers
    from kras_plugins.processing.pipeline import process_slide
    from kras_plugins.slides.qc import blurred
    from kras_plugins.slides.slide import Slide, open_slide
    from kras_plugins.slides.stream import ordered_map, stream_tiles
    from kras_plugins.slides.tiles import tile_grid
    from kras_plugins.slides.tissue import find_tissue
    from kras_plugins.store import Store

    registry = discover()
    config = load_config(None, [f"extractor.vit.model={model}", "extractor.vit.weights=random:0"])
    ref = SlideRef(patient_id="p", slide_id="bench", path=slide_path)
    found: dict[str, list[float]] = {
        k: [] for k in ("model", "data path", "end to end", "eager", "plain read", "openslide")
    }
    with open_parts(registry, config, extractors=["vit"], profiler=None, backend="local") as parts:
        part = parts.extractors[""]
        print(f"engine {parts.engine}, precision {parts.precision}, batch {part.batch}, in flight {part.in_flight}")
        plain = timm.create_model(model, pretrained=False, num_classes=0).eval()
        transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])
        with open_slide(ref, parts.readers) as slide, open_slide(ref, parts.readers, "openslide") as other:
            print(f"reader {slide.reader}")
            image, mpp = slide.thumbnail(8.0)
            grid = tile_grid(slide, find_tissue(image, mpp[0]), TileSpec(px=224, mpp=0.5))
            print(f"slide {slide.size[0]} x {slide.size[1]} px, {len(grid)} tiles")
            batches = [b.pixels for b in stream_tiles(slide, grid, batch=part.batch, threads=2)][: 256 // part.batch]

            def run_model() -> int:
                with ThreadPoolExecutor(part.in_flight) as pool:
                    return sum(len(f) for f in ordered_map(pool, part.made, batches, part.in_flight + 1))

            def run_data(slide: Slide = slide) -> int:
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
                    while chunk := [transform(t) for _, t in zip(range(16), reader, strict=False)]:
                        done += len(plain(torch.stack(chunk)))
                return done

            def run_plain() -> int:
                return sum(1 for _ in plain_reader(slide_path, len(grid)))

            jobs = {"model": run_model, "data path": run_data, "end to end": run_whole, "eager": run_eager}
            jobs |= {"plain read": run_plain, "openslide": lambda: run_data(other)}
            run_model()
            for _ in range(rounds):
                for name, job in jobs.items():
                    found[name].append(rate(job))
    return {name: statistics.median(values) for name, values in found.items()}


def peak_memory(small: Path, large: Path, plugin: Path) -> dict[str, float]:
    """Peak memory in MB of embedding `large` with a null model, beyond what imports and a `small` slide take."""
    from kras_plugins.data import SlideRef
    from kras_plugins.host.config import load_config
    from kras_plugins.host.manager import discover
    from kras_plugins.host.parts import open_parts
    from kras_plugins.processing.execution import workers
    from kras_plugins.processing.pipeline import process_slide
    from kras_plugins.store import Store

    def peak() -> float:
        # Not getrusage: that starts from the memory of the process that started this one.
        status = Path("/proc/self/status").read_text()
        return float(status.split("VmHWM:")[1].split()[0]) / 1024

    registry = discover(files=[plugin])
    with (
        tempfile.TemporaryDirectory() as folder,
        open_parts(registry, load_config(None), extractors=["null"], profiler=None, backend="local") as parts,
        workers(Store(Path(folder)), 0) as work,
    ):
        process_slide(SlideRef(patient_id="p", slide_id="s", path=small), parts, work)
        imported, began = peak(), time.perf_counter()
        result = process_slide(SlideRef(patient_id="p", slide_id="l", path=large), parts, work)
        seconds = time.perf_counter() - began
    assert result.qc is not None
    return {"tiles": result.qc.n_tiles, "imported": imported, "beyond": peak() - imported, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="vit_small_patch16_224", help="a model of timm, or `null`: reading alone, see reading.py"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=224 * 30, help="side of the slide in pixels")
    parser.add_argument("--memory", type=Path, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read or args.model == "null":
        import reading

        reading.read_alone(args.read) if args.read else reading.main(args.rounds)
        return
    if args.memory:
        print(json.dumps(peak_memory(*args.memory)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.svs"
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
    print(f"the same through reader openslide: {rates['openslide'] / rates['plain read']:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        small, large, plugin = (Path(folder) / name for name in ("small.svs", "large.svs", "null.py"))
        plugin.write_text(NULL)
        make_slide(small, 224 * 5)
        for side in (224 * 70, 224 * 224):
            make_slide(large, side)
            words = [sys.executable, __file__, "--memory", str(small), str(large), str(plugin)]
            m = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
            print(
                f"memory, {m['tiles']} tiles in {m['seconds']:.0f} s: {m['beyond']:.0f} MB beyond the "
                f"{m['imported']:.0f} MB after a small slide (aim 1500)"
            )


if __name__ == "__main__":
    main()
