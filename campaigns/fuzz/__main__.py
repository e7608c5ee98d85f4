"""`python -m campaigns.fuzz`: run kinds, print the table, write it; killed, it goes on where it was."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # the studies, bundles and services that tests share
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # no library may have threads in the process that forks
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # Arrow's own takes a gibibyte before it needs any

from campaigns.fuzz.kind import Kind  # noqa: E402 - what it imports must find the environment
from campaigns.fuzz.server import FAULTS, FINE, Outcome, campaign, die_with_parent  # noqa: E402

FAMILIES = (
    "tables",
    "settings",
    "cells",
    "cell_tables",
    "slides",
    "dicom",
    "pictures",
    "features",
    "networks",
    "weights",
    "estimators",
    "deployed",
    "plugins",
    "service",
)
SHARED = ("numpy", "pyarrow.parquet", "pydantic", "h5py", "sklearn.ensemble", "torch", "kras_plugins.semantics.profile")
"""Modules that several kinds import, which takes seconds."""
COLUMNS = ("cases", *FINE, *FAULTS)


def kinds() -> dict[str, Kind]:
    """All kinds by their names."""
    return {kind.name: kind for family in FAMILIES for kind in import_module(f"campaigns.fuzz.{family}").KINDS}


def main(words: Sequence[str] | None = None) -> int:
    """Run the campaign; 1 where any case had a fault."""
    known = kinds()
    parser = argparse.ArgumentParser(prog="python -m campaigns.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=0, help="cases of each kind; without it the few of `make test`")
    parser.add_argument("--kinds", default=",".join(known), help="those to run, separated by commas")
    parser.add_argument("--seed", type=int, default=0, help="of all changes")
    parser.add_argument("--case", type=int, help="this one alone, and tell all of it")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz", help="folder of the outcomes")
    asked = parser.parse_args(words)
    chosen = [known[name] for name in asked.kinds.split(",")]
    print(f"seed {asked.seed}; one case again: python -m campaigns.fuzz --seed {asked.seed} --kinds KIND --case NUMBER")
    for module in SHARED:
        import_module(module)
    if asked.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            _forked(chosen[0], [asked.case], asked.seed, "", Path(folder) / "one")
            outcome = Outcome(**_outcome((Path(folder) / "one").read_text()))
        print(f"{outcome.outcome}: {outcome.what}\n{outcome.told}")
        return 0
    asked.out.mkdir(parents=True, exist_ok=True)
    stamp = f"{_digest()}-{asked.seed}"
    found = {kind.name: _run(kind, asked.cases or kind.few, asked.seed, stamp, asked.out) for kind in chosen}
    rows = {name: _counts(some) for name, some in found.items()}
    _print(rows)
    faults = [asdict(o) for some in found.values() for o in some if o.outcome in FAULTS]
    report = {"seed": asked.seed, "kinds": rows, "faults": faults}
    (asked.out.parent / "fuzz.json" if asked.out.name == "fuzz" else asked.out / "fuzz.json").write_text(
        json.dumps(report, indent=2)
    )
    return int(bool(faults))


def _run(kind: Kind, cases: int, seed: int, stamp: str, out: Path) -> list[Outcome]:
    """The outcomes of a kind: those that are there already, then the others, in a process of their own."""
    file, began = out / f"{kind.name}.jsonl", time.monotonic()
    lines = file.read_text().splitlines() if file.exists() else []
    there = [json.loads(line) for line in lines if line.startswith(f'{{"stamp": "{stamp}"') and line.endswith("}")]
    done = {line["case"]: Outcome(**{k: v for k, v in line.items() if k != "stamp"}) for line in there}
    left = [case for case in range(cases) if case not in done]
    if left:
        file.write_text("".join(json.dumps({"stamp": stamp, **asdict(o)}) + "\n" for o in done.values()))
        _forked(kind, left, seed, stamp, file)
        done = {o["case"]: Outcome(**o) for o in map(_outcome, file.read_text().splitlines())}
    some = [done[case] for case in range(cases)]
    bad = Counter(o.outcome for o in some if o.outcome in FAULTS)
    print(f"{kind.name}: {len(some)} cases, {dict(bad) or 'no faults'}, {time.monotonic() - began:.0f} s", flush=True)
    for outcome in some:
        if outcome.outcome in FAULTS:
            print(f"  {outcome.outcome}, case {outcome.case}: {outcome.what}: {outcome.told[-400:]}", flush=True)
    return some


def _outcome(line: str) -> dict[str, Any]:
    return {k: v for k, v in json.loads(line).items() if k != "stamp"}


def _forked(kind: Kind, cases: Sequence[int], seed: int, stamp: str, file: Path) -> None:
    """Add the outcomes of some cases to a file, from a process without the threads that imports have started."""
    pid = os.fork()
    if pid == 0:
        _in_child(kind, cases, seed, stamp, file)
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit(f"{kind.name}: the campaign itself failed")


def _in_child(kind: Kind, cases: Sequence[int], seed: int, stamp: str, file: Path) -> None:
    code = 1
    try:
        die_with_parent()
        with file.open("a") as f:
            for outcome in _tried(kind, cases, seed):
                f.write(json.dumps({"stamp": stamp, **asdict(outcome)}) + "\n")
                f.flush()
        code = 0
    except RuntimeError as e:
        print(e, file=sys.stderr)
    finally:
        sys.stdout.flush()
        os._exit(code)


def _tried(kind: Kind, cases: Sequence[int], seed: int) -> Iterable[Outcome]:
    with tempfile.TemporaryDirectory(prefix="kras-fuzz-") as scratch:
        yield from campaign(kind, cases, seed, Path(scratch))


def _counts(some: Sequence[Outcome]) -> dict[str, int]:
    count = Counter(o.outcome for o in some)
    return {"cases": len(some), **{name: count[name] for name in (*FINE, *FAULTS)}}


def _print(rows: dict[str, dict[str, int]]) -> None:
    total = Counter[str]()
    for row in rows.values():
        total.update(row)
    print(f"{'kind':14}" + "".join(f"{name:>13}" for name in COLUMNS))
    for name, row in {**rows, "all": total}.items():
        print(f"{name:14}" + "".join(f"{row[column]:>13}" for column in COLUMNS))


def _digest() -> str:
    """What the outcomes depend on: the sources of product and campaign."""
    files = [f for top in ("kras_plugins", "plugins", "campaigns") for f in sorted((ROOT / top).rglob("*.py"))]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]


if __name__ == "__main__":
    sys.exit(main())
