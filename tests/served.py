"""What tests of the service share: a bundle of a study of seconds, slides for it, a service's settings and workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quick_study import quick

from kras_plugins.service.settings import ServiceSettings
from kras_plugins.study import train

ROOT = Path(__file__).resolve().parents[1]


def small_bundle(tables: Path, folder: Path, **given: Any) -> Path:
    """A bundle on finished features: real, and scored in a second. `given`: other settings of the study."""
    settings = quick(tables, folder / "store").model_copy(update=given)
    return train(tables / "cohort.csv", settings, out=folder / "out").folder / "bundle"


def arrive(folder: Path, patient: int) -> Path:
    """A slide file of one of the patients whose features are in the tables; its content is the patient's alone."""
    folder.mkdir(parents=True, exist_ok=True)
    slide = folder / f"TCGA-{patient % 6:02d}-{patient:04d}.svs"
    slide.write_bytes(f"slide of patient {patient}".encode())
    return slide


def serving(folder: Path, tables: Path, bundles: Sequence[Path], **given: Any) -> ServiceSettings:
    """Settings of a service below a folder, which takes slides from `slides` there."""
    (folder / "slides").mkdir(parents=True, exist_ok=True)
    study = quick(tables, folder / "store").model_copy(update={"folds": 5})
    return ServiceSettings(
        **{"data": folder / "data", "bundles": tuple(bundles), "roots": (folder / "slides",), "study": study, **given}
    )


def worker_process(order: Path, **env: str) -> subprocess.Popen[bytes]:
    """A service's worker in a process of its own, with what `order` says (`served_worker.py`)."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "served_worker.py"), str(order)],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
    )
