"""Blocks of `gpu.py` that need `kras`: engine `torch` of backend `local` through its options, whole slides, and
the training of `he`."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from cells import children, cpu_of
from embed import make_slide
from gpu_networks import Subject
from gpu_results import Row
from gpu_torch import busy, filled

from kras_plugins import BackendError, Bag, Cohort, ModelSpec, Sample, TileSpec
from kras_plugins.bags import read_bag, write_bag
from kras_plugins.contracts.backend import Backend, BackendPlugin
from kras_plugins.data import SlideRef
from kras_plugins.host.config import load_config
from kras_plugins.host.manager import discover
from kras_plugins.host.parts import Part, open_parts
from kras_plugins.probing.parity import compare, slide_tiles
from kras_plugins.processing.execution import workers
from kras_plugins.processing.pipeline import process_slide
from kras_plugins.slides.qc import blurred
from kras_plugins.slides.slide import open_slide
from kras_plugins.slides.stream import ordered_map, stream_tiles
from kras_plugins.slides.tiles import cover_grid, tile_grid
from kras_plugins.slides.tissue import TISSUE_MPP, find_tissue
from kras_plugins.store import Store
from kras_plugins.testing.slides import draw_slide

if TYPE_CHECKING:
    from gpu import Bench

REGISTRY = discover()
Encoder = tuple[str, str]
"""A model of extractor `vit` and its weights."""
MINI, SMALL, LARGE = ("vit-mini", ""), ("vit_small_patch16_224", "random:0"), ("vit_large_patch16_224", "random:0")


def settings(bench: Bench, **options: Any) -> list[str]:
    """What a user would give after -o to run engine `torch` on the device."""
    all_options = {"engine": "torch", "device": bench.device} | options
    return [f"backend.local.{key}={str(value).lower()}" for key, value in all_options.items()]


def of_vit(encoder: Encoder) -> list[str]:
    model, weights = encoder
    return [f"extractor.vit.model={model}", *([f"extractor.vit.weights={weights}"] if weights else [])]


def spec_of(kind: str, name: str, words: list[str]) -> ModelSpec:
    record: Any = REGISTRY.find(kind, name).record
    (spec,) = record.models(load_config(None, words).options_for(kind, record))
    return spec


def specs(bench: Bench) -> dict[str, ModelSpec]:
    encoders = (MINI,) if bench.small else (MINI, SMALL, LARGE)
    return {e[0]: spec_of("extractor", "vit", of_vit(e)) for e in encoders} | {
        "cells": spec_of("profiler", "cells", [])
    }


def backend(words: list[str]) -> Backend:
    record = REGISTRY.record("backend", "local", BackendPlugin)
    return record.create(load_config(None, words).options_for("backend", record))


def engine(bench: Bench) -> Iterator[Row]:
    asked = {"all by itself": []} if not bench.small else {}
    asked |= {"this device": settings(bench)}
    for precision in ("f32", "bf16", "f16"):
        asked |= {f"this device, {precision}": settings(bench, precision=precision)}
    for what, words in asked.items():
        made = backend(words)
        named = bench.small or torch.cuda.get_device_name(bench.device) in made.engine
        yield {"asked for": what, "engine": made.engine, "precision": made.precision, "ok": named}
        made.close()


def engine_agreement(bench: Bench) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawn.tiff"
        side_um = 512.0 if bench.small else 2048.0
        draw_slide(drawn, seed=0, size_um=(side_um, side_um))
        for name, spec in specs(bench).items():
            tiles = slide_tiles(spec, drawn, 2 if bench.small else 32, REGISTRY, load_config(None))
            for precision in ("f32", "bf16") if bench.small else ("bf16", "f16", "f32"):
                config = load_config(None, settings(bench, precision=precision))
                for found in compare(spec, tiles, "local", REGISTRY, config, ""):
                    row = {"model": name, "output": found.output, "precision": precision, "tiles": found.tiles}
                    row |= {"1 - cosine": 1 - found.cosine, "relative error": found.error, "ok": found.passed}
                    yield row


def engine_rates(bench: Bench) -> Iterator[Row]:
    for name, spec in specs(bench).items():
        ways: list[dict[str, Any]] = [{"batch": 1}] if bench.small else [{}, {"graphs": False}, {"batch": 512}]
        for options in ways:
            made = backend(settings(bench, precision="bf16", **options))
            infer = made.load(spec)
            (given,), wanted = spec.inputs, spec.outputs[0].name

            def call(tiles: torch.Tensor, infer: Any = infer, given: str = given.name, out: str = wanted) -> Any:
                return torch.from_numpy(infer({given: tiles.numpy()})[out])

            subject = Subject(name, given.shape[0], ())
            row: Row = {"model": name, "batch": infer.batch, "slots": infer.in_flight}
            row |= {"graphs": options.get("graphs", True) and not bench.small}
            yield row | busy(call, subject, infer.batch, infer.in_flight + 1, bench)
            made.close()


def engine_memory(bench: Bench) -> Iterator[Row]:
    spec = spec_of("extractor", "vit", of_vit(LARGE))
    taken = filled(bench.device, left=1 << 29)  # half a GB, too little for the weights alone
    made = backend(settings(bench))
    said = hint = ""
    try:
        made.load(spec)
    except BackendError as e:
        said, hint = e.message, e.hint
    del taken
    torch.cuda.empty_cache()
    infer = made.load(spec)
    tiles = np.zeros((1, *spec.inputs[0].shape), np.uint8)
    again = bool(np.isfinite(infer({spec.inputs[0].name: tiles})[spec.outputs[0].name]).all())
    yield {"said": said, "remedy": hint, "works afterwards": again, "ok": "memory" in said and bool(hint) and again}
    made.close()


def slides(folder: Path, bench: Bench, side: int) -> tuple[SlideRef, SlideRef]:
    """A small slide, and one covered with tissue that is `side` pixels wide at 0.5 µm/px."""
    import tifffile

    drawn, large = folder / "drawn.tiff", folder / "large.svs"
    side_um = 512.0 if bench.small else 1024.0
    draw_slide(drawn, seed=0, size_um=(side_um, side_um))
    if bench.small:
        large.symlink_to(drawn)
    else:
        make_slide(large, side, tifffile.imread(drawn, key=0)[512:1536, 512:1536])
    first, second = (SlideRef(patient_id="p", slide_id=file.stem, path=file) for file in (drawn, large))
    return first, second


def slide_embedding(bench: Bench) -> Iterator[Row]:
    for encoder in (MINI,) if bench.small else (SMALL, MINI, LARGE):
        yield whole(bench, encoder[0], 224 * 160, "vit", None, of_vit(encoder))
        if time.time() > bench.until:
            return


def slide_cells(bench: Bench) -> Iterator[Row]:
    yield whole(bench, "cells", 512 * 40, None, "cells", [])


def whole(bench: Bench, name: str, side: int, extractor: str | None, profiler: str | None, words: list[str]) -> Row:
    """Tiles per second of a slide from file to result, and of each step."""
    cores = 1 if bench.small else os.cpu_count() or 1
    config = load_config(None, [*words, *settings(bench, precision="bf16")])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        named = open_parts(
            REGISTRY,
            config,
            extractors=[extractor] if extractor else [],
            profiler=profiler,
            backend="local",
            reader="tiff",
        )
        parts = stack.enter_context(named)
        work = stack.enter_context(workers(Store(folder / "store"), cores))
        (part,) = parts.named().values()
        first, ref = slides(folder, bench, side)
        with open_slide(ref, parts.readers, "tiff") as opened:
            image, mpp = opened.thumbnail(TISSUE_MPP)
            tissue = find_tissue(image, float(np.mean(mpp)))
            grid = (tile_grid if extractor else cover_grid)(opened, tissue, part.tile)

            def read() -> int:
                stream = stream_tiles(opened, grid, batch=part.batch, threads=work.read_threads)
                with ThreadPoolExecutor(part.in_flight) as pool:
                    looked = ordered_map(pool, lambda b: blurred(b.pixels, part.tile.mpp), stream, part.in_flight + 1)
                    return sum(len(flags) for flags in looked)

            model = model_rate(part, bench)
            reading = rate(read)

        def process(slide: SlideRef) -> int:
            process_slide(slide, parts, replace(work, store=Store(folder / slide.slide_id)))
            return len(grid)

        process(first)  # starts workers, compiles code
        own, theirs = time.process_time(), cpu_of(children())
        result = rate(lambda: process(ref))
        own, theirs = time.process_time() - own, cpu_of(children()) - theirs
    # Reading and decoding share the cores; the card has its own.
    decoding = cores * len(grid) / theirs if theirs else float("inf")
    on_cores = 1 / (1 / reading + 1 / decoding)
    return {
        "model": name,
        "engine": parts.engine,
        "tiles": len(grid),
        "batch": part.batch,
        "cores": cores,
        "card alone": model,
        "reading alone": reading,
        "from file to result": result,
        "ms of CPU a tile": 1e3 * own / len(grid),
        "in workers": 1e3 * theirs / len(grid),
        "limit": "card" if model < on_cores else "cores",
        "of the limit": result / min(model, on_cores),
    }


def he_training(bench: Bench) -> Iterator[Row]:
    from kras_classifier_he import HeOptions
    from kras_classifier_he.classifier import HeClassifier

    patients, tiles, dim, epochs = (12, 20, 8, 2) if bench.small else (64, 4096, 1536, 3)
    options = HeOptions(device=bench.device, epochs=epochs, hidden=8 if bench.small else 256)
    with tempfile.TemporaryDirectory() as name:
        samples, labels = cohort_of(Path(name), patients, tiles, dim)
        parts = [Cohort(samples=samples[i::2], labels=labels[i::2], groups=["p"] * (patients // 2)) for i in (0, 1)]
        made, seconds = [], []
        for i in range(2):  # the second time nothing has to start
            classifier, began = HeClassifier(options, 0), time.perf_counter()
            classifier.fit(*parts)
            seconds.append(time.perf_counter() - began)
            folder = Path(name) / f"model-{i}"
            folder.mkdir()
            classifier.save(folder)
            made.append((folder / "network.safetensors").read_bytes())
        here, elsewhere = classifier.predict(samples), HeClassifier.load(folder).predict(samples)
    apart = float(np.abs(here - elsewhere).max())
    used = torch.cuda.max_memory_allocated(bench.device) / 1e6 if bench.device.startswith("cuda") else 0.0
    yield {
        "patients": patients,
        "tiles": tiles,
        "features": dim,
        "patients/s": len(parts[0]) * epochs / seconds[1],
        "MB on the card": used,
        "same bytes": made[0] == made[1],
        "from the CPU's scores": apart,
        "ok": made[0] == made[1] and apart <= 1e-4,
    }


def cohort_of(folder: Path, patients: int, tiles: int, dim: int) -> tuple[list[Sample], np.ndarray]:
    """Patients with a bag on disk each; every second is positive and has its first tiles shifted."""
    rng, samples, labels = np.random.default_rng(0), [], (np.arange(patients) // 2 % 2).astype(np.int8)
    for i, label in enumerate(labels.tolist()):
        features = rng.standard_normal((tiles, dim), np.float32)
        features[: tiles // 8, :4] += 3 * label
        xy, spec = np.zeros((tiles, 2), np.int32), TileSpec(px=224, mpp=0.5)
        bag = Bag(
            slide_id=f"{i}", features=features, xy=xy, size=(448.0, 448.0), tile_spec=spec,
            encoder="random", transform_hash="",
        )  # fmt: skip
        write_bag(folder / f"{i}.h5", bag)
        samples.append(Sample(patient_id=f"{i}", bags=(read_bag(folder / f"{i}.h5"),)))
    return samples, labels


def rate(work: Callable[[], int]) -> float:
    began = time.perf_counter()
    return work() / (time.perf_counter() - began)


def model_rate(part: Part, bench: Bench) -> float:
    """Tiles per second of the network alone, with as many calls at once as it asks for."""
    (spec,) = part.specs
    infer = part.infer[spec.name]
    tiles = np.random.default_rng(0).integers(0, 256, (part.batch, *spec.inputs[0].shape), np.uint8)
    infer({spec.inputs[0].name: tiles})
    end = time.perf_counter() + 2 * bench.seconds

    def call(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            infer({spec.inputs[0].name: tiles})
            done += len(tiles)
        return done

    with ThreadPoolExecutor(part.in_flight + 1) as pool:
        return rate(lambda: sum(pool.map(call, range(part.in_flight + 1))))
