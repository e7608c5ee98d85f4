"""The real experiment on TCGA: `python -m experiments.tcga_hif` from the repository, or `make experiment`.

Human-interpretable features of 812 patients (../shared/data/tcga) through `study.train`: KRAS G12C and any non-silent
KRAS, random and site-preserved folds, all of lung and adenocarcinoma alone. Killed, it goes on where it stopped; at the
end it writes the tables of docs/experiments/tcga-hif.md from the studies' metrics.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.tcga_cohort import FEATURES, TARGETS, write_cohort, write_labels
from experiments.tcga_document import write_document
from kras_plugins import study

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "experiments" / "tcga-hif.md"
CLASSIFIERS = ("mlp", "rf", "lgbm")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One run: what is predicted, how patients are dealt to folds, and whether squamous cancers are left out."""

    target: str
    splits: str
    luad_only: bool

    @property
    def name(self) -> str:
        """Name of its folder and for `--only`."""
        return f"{self.target}-{self.splits}-{'luad' if self.luad_only else 'pooled'}"


CONFIGURATIONS = tuple(
    Configuration(target=target, splits=splits, luad_only=luad_only)
    for luad_only in (False, True)
    for target in TARGETS
    for splits in ("random", "site")
)


def settings_of(one: Configuration, data: Path, out: Path, *, repeats: int) -> study.StudySettings:
    """The settings of one configuration."""
    return study.StudySettings(
        target=one.target,
        classifiers=CLASSIFIERS,
        covariates=data / "co_mutations.csv",
        splits=one.splits,
        folds=5,
        repeats=repeats,
        cache=out / "store",
    ).with_tables([data / name for name in FEATURES])


def run(one: Configuration, data: Path, out: Path, *, repeats: int, options: Sequence[str] = ()) -> float:
    """Run one configuration; returns seconds. Finished fits come from the store."""
    cohort = out / f"{one.target}-{'luad' if one.luad_only else 'pooled'}.csv"
    write_cohort(data, out / "labels.csv", cohort, target=one.target, luad_only=one.luad_only)
    began = time.monotonic()
    settings = settings_of(one, data, out, repeats=repeats).with_options(*options)
    study.train(cohort, settings, out=out / one.name, notify=study.bars())
    return time.monotonic() - began


def read_metrics(out: Path) -> dict[str, dict[str, Any]]:
    """metrics.json of every configuration that is there, by name, with the number of `repeats` from its manifest."""

    def read(file: Path) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return content

    done = [one.name for one in CONFIGURATIONS if (out / one.name / "manifest.json").is_file()]
    return {
        name: {
            **read(out / name / "metrics.json"),
            "repeats": read(out / name / "manifest.json")["config"]["repeats"],
        }
        for name in done
    }


def main() -> None:
    """Run what was asked for, then write the document's tables of all configurations that are there."""
    names = [one.name for one in CONFIGURATIONS]
    shared = Path(os.environ.get("KRAS_SHARED_DATA") or ROOT.parent / "shared" / "data")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared / "tcga", help="folder of the TCGA tables")
    parser.add_argument("--out", type=Path, default=ROOT / "kras-out" / "tcga-hif", help="folder to write into")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of the 5-fold cross-validation")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "-o", "--option", action="append", default=[], metavar="KIND.NAME.KEY=VALUE", help="of a plug-in"
    )
    parser.add_argument("--document", action="store_true", help="write the tables of finished runs, run nothing")
    asked = parser.parse_args()
    data, out = asked.data.resolve(), asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if not asked.document:
        write_labels(data, out / "labels.csv")
    for one in () if asked.document else [c for c in CONFIGURATIONS if c.name in asked.only]:
        seconds = run(one, data, out, repeats=asked.repeats, options=asked.option)
        print(f"{one.name}: {seconds / 60:.1f} minutes", flush=True)
    metrics = read_metrics(out)
    missing = [name for name in names if name not in metrics]
    write_document(DOCUMENT, metrics)
    print(f"tables written: {DOCUMENT}" + (f"; still to run: {', '.join(missing)}" if missing else ""))


if __name__ == "__main__":
    main()
