"""Is a GPU used correctly and efficiently? `python benchmarks/gpu.py --device cuda --out DIR`

First what PyTorch and timm alone do on it, which any machine that has them can answer; then `kras` itself, if it and
its dependencies are installed (`gpu_wheels.py` prepares that for a machine without a network). The most important
blocks come first. Every row is written to DIR/blocks at once; at the end DIR/gpu.json and DIR/gpu.md contain them all:

    python benchmarks/gpu.py --out DIR --page docs/gpu.md     puts the figures of DIR into the page, measures nothing

A block that lacks a package says so; a block for which no time is left is skipped and says so; a block that ends its
process, or hangs, affects only itself. `--device cpu` runs the same with tiny networks, to test whether it works, not
how fast. Exit code 1 if a block failed or a check does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

from gpu_results import Row, faults, forget, markdown, put, read, write

PATIENCE = 30.0
"""Seconds beyond its end after which a block is considered hung: its longest row must fit."""
START = 180.0
"""Seconds for a process to start its first block: PyTorch and CUDA are loaded meanwhile."""


@dataclass(frozen=True)
class Block:
    """Something to find out: function `name` of `module`. `seconds`: what it may take on an H200, estimated.

    `card`: whether it is about what only an NVIDIA GPU has.
    """

    module: str
    name: str
    seconds: float
    question: str
    card: bool = False


@dataclass(frozen=True)
class Bench:
    """Where and how long to measure. `small`: tiny networks. `until`: wall-clock seconds."""

    device: str
    small: bool
    until: float

    @property
    def seconds(self) -> float:
        """For one rate."""
        return 0.05 if self.small else 1.5


BLOCKS = (
    Block("gpu_torch", "versions", 5, "What is this machine?"),
    Block("gpu_torch", "agreement", 50, "How far are f32, bf16 and f16 from the CPU's f32?"),
    Block("gpu_torch", "peaks", 10, "What do a large matrix product and copies reach?"),
    Block("gpu_torch", "rates", 90, "Tiles a second and memory, and which share of the matrix rate is that?"),
    Block("gpu_torch", "graphs", 20, "Does a CUDA graph give the bits of the calls that it holds, and how fast?", True),
    Block("gpu_torch", "slots", 45, "How many slots, pinned or not, keep it busy, and do they mix results up?"),
    Block("gpu_torch", "memory", 5, "Is out-of-memory an error that the next batch survives?"),
    Block("gpu_kras", "engine", 15, "What does backend `local` choose here?"),
    Block("gpu_kras", "engine_agreement", 45, "How far is engine `torch` from PyTorch's f32 on the CPU?"),
    Block("gpu_kras", "engine_rates", 45, "Tiles a second through its slots, and are results the same in each?"),
    Block("gpu_kras", "engine_memory", 20, "Is out-of-memory a BackendError that names the remedy?", True),
    Block("gpu_kras", "slide_embedding", 60, "A slide from file to bag: how fast, and what limits?"),
    Block("gpu_kras", "slide_cells", 75, "A slide from file to cells: how fast, and what limits?"),
    Block(
        "gpu_kras", "he_training", 40, "Does `he` train to the same bytes each time, score as on the CPU, and how fast?"
    ),
    Block("gpu_torch", "compiled", 60, "What would torch.compile gain?", True),
)


def main() -> int:
    args = arguments()
    if args.child:
        return child(chosen(args.child), args.device, args.out, args.until)
    if args.page:
        facts = json.loads((args.out / "gpu.json").read_text(encoding="utf-8"))
        put(args.page, markdown(facts, facts["blocks"]))
        return 0
    blocks, began = chosen(args.only or [b.name for b in BLOCKS]), time.time()
    until = began + 60 * args.minutes
    folder = args.out / "blocks"
    for block in blocks:
        forget(folder, block.name)
        if block.card and not args.device.startswith("cuda"):
            write(folder, fresh(block) | {"status": "skipped", "why": "it is for NVIDIA GPUs"})

    def start(some: Sequence[Block]) -> subprocess.Popen[bytes]:
        device, environment = alone(args.device)
        words = ["--device", device, "--out", str(args.out), "--until", str(until)]
        command = [sys.executable, __file__, *words, "--child", *(b.name for b in some)]
        return subprocess.Popen(command, env={**os.environ, **environment})

    measure(blocks, start, folder, until)
    records = [r for b in blocks if (r := read(folder, b.name))]
    named = next((row["device"] for r in records if r["block"] == "versions" for row in r["rows"]), args.device)
    facts = {
        "device": named,
        "command": shlex.join(["python", "benchmarks/gpu.py", *sys.argv[1:]]),
        "begun": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(began)),
        "seconds": time.time() - began,
        "faults": faults(records),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "gpu.json").write_text(json.dumps({**facts, "blocks": records}, indent=1), encoding="utf-8")
    text = markdown(facts, records)
    (args.out / "gpu.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")
    for fault in facts["faults"]:
        print(f"NOT AS IT SHOULD BE: {fault}")
    return 1 if facts["faults"] else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="as PyTorch names it: cuda, cuda:1, cpu")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--minutes", type=float, default=9.0, help="start no block that would not end by then")
    parser.add_argument("--only", nargs="+", choices=[b.name for b in BLOCKS], metavar="BLOCK", help="only these")
    parser.add_argument("--page", type=Path, help="put the results of --out between the markers of this page")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def alone(device: str) -> tuple[str, dict[str, str]]:
    """The device as the blocks name it, and an environment in which it is the only one of its kind."""
    if not device.startswith("cuda"):
        # On few cores, threads of several processes wait for each other longer than tiny networks take.
        return device, {"OMP_NUM_THREADS": "1"}
    number, shown = int(device.partition(":")[2] or 0), os.environ.get("CUDA_VISIBLE_DEVICES")
    return "cuda:0", {"CUDA_VISIBLE_DEVICES": shown.split(",")[number] if shown else str(number)}


def chosen(names: Sequence[str]) -> list[Block]:
    return [b for b in BLOCKS if b.name in names]


def measure(
    blocks: Sequence[Block], start: Callable[[Sequence[Block]], subprocess.Popen[bytes]], folder: Path, until: float
) -> None:
    """Run blocks in processes that `start` makes, one for consecutive blocks of a module.

    If a process dies or hangs, the record of its current block says so; the next process continues after that block.
    """
    todo = [b for b in blocks if read(folder, b.name) is None]
    while todo:
        if time.time() >= until:
            for block in todo:
                write(folder, fresh(block) | {"status": "skipped", "why": "no time was left"})
            return
        together = list(next(groupby(todo, lambda b: b.module))[1])
        why = ended(start(together), together, folder)
        found = [read(folder, b.name) for b in together]
        if found[0] is None:  # it never began
            write(folder, fresh(together[0]) | {"status": "failed", "why": f"its process {why}"})
        for record in found:
            if record and record["status"] == "running":
                write(folder, record | {"status": "failed", "why": f"its process {why}"})
        todo = [b for b in todo if read(folder, b.name) is None]


def ended(process: subprocess.Popen[bytes], blocks: Sequence[Block], folder: Path) -> str:
    """Wait for a process, no longer than its current block may take, and say how it ended."""
    limit = time.time() + START
    while True:
        try:
            return f"ended with exit code {process.wait(timeout=0.1)}"
        except subprocess.TimeoutExpired:
            found = [r for b in blocks if (r := read(folder, b.name))]
        if found:
            limit = found[-1]["until"] + PATIENCE
        if time.time() > limit:
            process.kill()
            process.wait()
            return "hung and was ended"


def fresh(block: Block) -> dict[str, Any]:
    """The record of a block that has not begun."""
    return {"block": block.name, "question": block.question, "status": "running", "why": "", "until": 0.0, "rows": []}


def child(blocks: Sequence[Block], device: str, out: Path, until: float) -> int:
    """Run blocks in this process and record each row as it comes; stops after a block that failed.

    The state after a device error cannot be trusted: the following blocks get a new process.
    """
    for block in blocks:
        record, began, small = fresh(block), time.time(), device == "cpu"
        if began + block.seconds * (not small) > until:
            write(out / "blocks", record | {"status": "skipped", "why": f"{until - began:.0f} s left are not enough"})
            continue
        # On a CPU only the whole run has a time limit: how long a block takes says nothing there.
        record["until"] = until if small else min(until, began + 3 * block.seconds)
        write(out / "blocks", record)
        print(f"== {block.name}: {block.question}", flush=True)
        try:
            record["status"] = "done"
            run: Callable[[Bench], Iterator[Row]] = getattr(import_module(block.module), block.name)
            for row in run(Bench(device, small, record["until"])):
                record["rows"].append(row)
                print(json.dumps(row), flush=True)
                write(out / "blocks", record | {"status": "running"})
                if time.time() > record["until"]:
                    record |= {"status": "cut", "why": "its time was over"}
                    break
        except ModuleNotFoundError as e:
            record |= {"status": "skipped", "why": f"there is no package {(e.name or str(e)).split('.')[0]}"}
        except Exception as e:  # noqa: BLE001 - whatever it is, the other blocks are worth their time
            traceback.print_exc()
            record |= {"status": "failed", "why": f"{type(e).__name__}: {e}"[:500]}
        write(out / "blocks", record | {"seconds": round(time.time() - began, 1)})
        print(f"   {record['status']} {record['why']} ({time.time() - began:.1f} s)", flush=True)
        if record["status"] == "failed":
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
