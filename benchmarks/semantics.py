"""How fast and in how much memory cells and tissue become features: `python benchmarks/semantics.py --help`.

A synthetic map of clustered cells (glands of dense tumor cells, lymphocytes around them and in aggregates, fibroblasts)
at the densities of real slides. Each size runs in a process of its own, so that its peak memory is separate. If other
work shares the machine, CPU seconds say more than wall-clock time: everything runs on one core.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa

from kras_plugins.data import CELL_CLASSES, CELL_COLUMNS, TISSUE_CLASSES, SemanticMap
from kras_plugins.semantics.cells import CELL_SCHEMA
from kras_plugins.semantics.epithelium import density_tissue
from kras_plugins.semantics.features.validity import validity
from kras_plugins.semantics.profile import COMPUTE, profile
from kras_plugins.semantics.raster import raster_over
from kras_plugins.semantics.view import View

PER_MM2 = 4000.0  # all cells together: 800,000 on 200 mm²


def make_map(n_tumor: int, n_other: int, seed: int = 0) -> SemanticMap:
    """Cells of a square piece of tissue: tumor in glands of 60 to 250 µm, half of the others lymphocytes."""
    rng = np.random.default_rng(seed)
    side = 1000 * ((n_tumor + n_other) / PER_MM2) ** 0.5
    glands = rng.uniform(0, side, (n_tumor // 300, 2))
    radius = rng.uniform(60, 250, len(glands))
    share = radius**2 / np.sum(radius**2)
    tumor = _around(rng, glands, radius, rng.choice(len(glands), n_tumor, p=share))
    n_lymphocytes = n_other // 2
    aggregates = rng.uniform(0, side, (max(1, n_lymphocytes // 2000), 2))
    n_dense = n_lymphocytes // 3
    dense = _around(rng, aggregates, np.full(len(aggregates), 130.0), rng.integers(len(aggregates), size=n_dense))
    loose = rng.uniform(0, side, (n_other - n_dense, 2))
    xy = np.clip(np.concatenate([tumor, dense, loose]), 0, side - 1).astype(np.float32)
    kinds = np.array(["tumor", "lymphocyte", "fibroblast"])
    kind = np.repeat([0, 1, 2], [n_tumor, n_lymphocytes, n_other - n_lymphocytes])
    order = rng.permutation(len(xy))
    xy, kind = xy[order], kind[order]
    columns = {"x_um": xy[:, 0], "y_um": xy[:, 1], "x_px": 2 * xy[:, 0], "y_px": 2 * xy[:, 1]}
    other = (f.name for f in CELL_SCHEMA if f.name not in columns and f.name != "class")
    columns |= {name: rng.uniform(0.2, 1, len(xy)).astype(np.float32) for name in other}
    columns["area_um2"] = np.where(kind == 0, 70, 30).astype(np.float32) * columns["area_um2"]
    names = pa.DictionaryArray.from_arrays(pa.array(kind, pa.int32()), pa.array(kinds)).cast(pa.string())
    cells = pa.table([names if f.name == "class" else pa.array(columns[f.name]) for f in CELL_SCHEMA], CELL_SCHEMA)
    raster = raster_over(side, side)
    tissue = np.ones(raster.shape, np.bool_)
    return SemanticMap(
        slide_id="synthetic",
        cells=cells,
        tissue=density_tissue(xy[kind == 0, 0], xy[kind == 0, 1], tissue, raster),
        analysed=tissue,
        origin_um=(0.0, 0.0),
        tissue_mpp=raster.mpp,
        provides=frozenset(CELL_CLASSES) | frozenset(TISSUE_CLASSES) | frozenset(CELL_COLUMNS),
        source="synthetic",
        ce_source="density",
    )


def _around(rng: np.random.Generator, centers: np.ndarray, radius: np.ndarray, which: np.ndarray) -> np.ndarray:
    angle, at = rng.uniform(0, 2 * np.pi, len(which)), np.sqrt(rng.uniform(0, 1, len(which)))
    return centers[which] + (radius[which] * at)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def measure(n_tumor: int, n_other: int, repeats: int) -> None:
    """Print seconds of each group, of all features together, and the peak memory of this process."""
    semantic = make_map(n_tumor, n_other)
    n = semantic.cells.num_rows
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    whole, cpu = [], []
    for _ in range(repeats):
        began, began_cpu = time.perf_counter(), time.process_time()
        found = profile(semantic)
        whole.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    view = View(semantic)
    began = time.process_time()
    valid = validity(view)
    steps = {"shared": time.process_time() - began}
    for group, compute in COMPUTE.items():
        began = time.process_time()
        compute(view)
        steps[group] = time.process_time() - began
    took, busy = statistics.median(whole), statistics.median(cpu)
    areas = f"{view.area_tissue:.0f} mm² tissue, {view.area_ta:.0f} mm² tumor area"
    print(f"{n:,} cells, {areas}, raster {semantic.tissue.shape} at {semantic.tissue_mpp} µm")
    print("  " + "  ".join(f"{name} {seconds:.1f}" for name, seconds in steps.items()) + "  s of CPU")
    print(f"  all {len(found.names)} features: {took:.1f} s ({busy:.1f} s of CPU; medians of {repeats})")
    print(f"  {n / took:,.0f} cells/s, peak {peak:.2f} GB (before: {base:.2f}), load {os.getloadavg()[0]:.1f}")
    missing = [name for name, value in zip(found.names, found.values, strict=True) if np.isnan(value)]
    print(f"  groups not valid: {[g for g, ok in valid.items() if not ok]}; missing: {missing}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tumor", type=int, help="tumor cells [default: 600,000, then 1,500,000]")
    parser.add_argument("--other", type=int, default=200_000, help="other cells, half of them lymphocytes")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.tumor is not None:
        measure(arguments.tumor, arguments.other, arguments.repeats)
        return
    for n_tumor, n_other, repeats in ((600_000, 200_000, arguments.repeats), (1_500_000, 500_000, 1)):
        command = [sys.executable, __file__, "--tumor", str(n_tumor), "--other", str(n_other)]
        subprocess.run([*command, "--repeats", str(repeats)], check=True)


if __name__ == "__main__":
    main()
