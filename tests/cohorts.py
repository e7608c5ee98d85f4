"""The synthetic cohorts and the command line that end-to-end tests share."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from unittest import mock

import numpy as np
from typer.testing import CliRunner

from kras_plugins.cli.app import app

SETTINGS = """
[run]
{run}
[extractor.vit]
model = "vit-mini"
[classifier.he]
seeds = 2
epochs = 20
[classifier.mlp]
seeds = 2
epochs = 30
[classifier.rf]
trees = 100
"""


def kras(*words: str | Path, cwd: Path, store: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the `kras` command in `cwd` with a store of its own, in this process, where libraries are imported already.

    A bug is raised. `kras_process` starts a process of its own, as a user does.
    """
    with mock.patch.dict(os.environ, environment(store, **env), clear=True), chdir(cwd), warnings.catch_warnings():
        warnings.simplefilter("default")
        ran = CliRunner().invoke(app, [str(word) for word in words], prog_name="kras")
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return subprocess.CompletedProcess(words, ran.exit_code, ran.stdout, ran.stderr)


def kras_process(
    *words: str | Path, cwd: Path, store: Path, enter: Sequence[str] = (), **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the `kras` command in `cwd` with a store of its own, in a process of its own; `enter`: words before it."""
    return subprocess.run(
        [*enter, *command(*words)],
        cwd=cwd,
        env=environment(store, **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


def command(*words: str | Path) -> list[str]:
    """The words that start `kras` with this interpreter."""
    return [sys.executable, "-m", "kras_plugins.cli", *map(str, words)]


def environment(store: Path, **env: str) -> dict[str, str]:
    """The environment of a run: its own store, no inherited settings, its own settings file trusted."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("KRAS_")}
    return {**kept, "KRAS_CACHE": str(store), "KRAS_TRUST": "1", **env}


def settle(folder: Path, run: str = "") -> None:
    """Write the kras.toml of a small, quick run."""
    (folder / "kras.toml").write_text(SETTINGS.format(run=run))


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with file.open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def write_rows(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows as a CSV."""
    with file.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw_tables(folder: Path, *, patients: int = 42, seed: int = 0) -> None:
    """A cohort of two histologies without slides, and tables of theirs whose column names differ by an ending."""
    rng = np.random.default_rng(seed)
    cohort, tables = [], {"LUAD": [], "LUSC": []}  # type: ignore[var-annotated]
    for i in range(patients):
        histology, label = ("LUAD", "LUSC")[i % 2], int(i % 5 < 2)
        name = f"TCGA-{i % 6:02d}-{i:04d}"
        cohort.append(
            {"patient_id": name, "slide_id": name, "histology": histology, "site": f"{i % 6:02d}", "g12c": str(label)}
        )
        end = {"LUAD": "_HE", "LUSC": "_FFPE"}[histology]
        for slide in range(1 + i % 2):  # some have two slides
            row = {"CASE_ID": f"{i}{slide}", "case": name, "os": str(label), "num_mutations": str(100 * label)}
            row |= {f"DENSITY {k}{end}": f"{rng.normal() + (2.5 * label if k == 0 else 0):.4f}" for k in range(8)}
            row[f"RARE{end}"] = "" if i % 7 == 0 else f"{rng.normal():.3f}"
            tables[histology].append(row)
    write_rows(folder / "cohort.csv", cohort)
    for histology, rows in tables.items():
        write_rows(folder / f"{histology}.csv", rows)
