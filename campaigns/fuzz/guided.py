"""`python -m campaigns.fuzz.guided TARGET SECONDS`: bytes that reach new lines of a parser, by atheris (libFuzzer).

Where a parser raises anything but a clear error, or hangs, or fills the memory, the bytes are kept in
`build/fuzz/guided/TARGET` beside those that were worth keeping, from which the next run goes on.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

Parser = Callable[[Path], object]
INSTRUMENTED = [
    "kras_profiler_import", "kras_plugins.cohort", "kras_plugins.host.config", "kras_plugins.files",
    "kras_plugins.study.settings",
]  # fmt: skip
SUFFIXES = {
    "json": "geojson",
    "cells": "csv",
    "table": "csv",
    "cohort": "csv",
    "folds": "csv",
    "maf": "maf",
    "settings": "toml",
}
"""Parsers by the name of the target, and how their files end."""


def parsers() -> dict[str, Parser]:
    """What reads all of a file."""
    from kras_plugins.cohort.folds_file import read_folds
    from kras_plugins.cohort.labels import label_patients
    from kras_plugins.cohort.mutations import read_mutations
    from kras_plugins.cohort.table import read_cohort
    from kras_plugins.study.settings import StudySettings
    from kras_profiler_import import ImportOptions
    from kras_profiler_import.cells import _DAMAGE, _damaged, _open
    from kras_profiler_import.frame import read_frame

    def table(file: Path) -> object:
        frame = read_frame(file, ("_HE",))
        return [frame.is_number(header) for header in frame.headers]

    def cells(file: Path) -> object:
        try:
            return deque(_open(file, ImportOptions()).items, maxlen=0)
        except _DAMAGE as e:  # as where the profiler goes through the items
            raise _damaged(file, e) from e

    return {
        "json": cells,
        "cells": cells,
        "table": table,
        "cohort": read_cohort,
        "folds": lambda file: read_folds(file, ["P00", "P01"], [0, 1]),  # type: ignore[arg-type]
        "maf": lambda file: label_patients(read_mutations([str(file)])),
        "settings": StudySettings.load,
    }


def _small(file: Path) -> bytes:
    """A sound file with three cells: what it grows from should be short."""
    if file.suffix not in (".json", ".geojson"):
        return b"".join(file.read_bytes().splitlines(keepends=True)[:20])
    return json.dumps(
        {k: v[:3] if isinstance(v, list) else v for k, v in json.loads(file.read_text()).items()}
    ).encode()


def main(target: str, seconds: int) -> None:
    """Run a target for so long; the process ends with an error where one was found."""
    from campaigns.fuzz.__main__ import kinds
    from kras_plugins.errors import KrasError

    import_module("kras_plugins.semantics.distance")  # numba compiles no instrumented code
    with atheris.instrument_imports(include=INSTRUMENTED):
        parse = parsers()[target]
        for module in ("kras_profiler_import.objects", "kras_plugins.cohort.number_columns"):
            import_module(module)
    kept = ROOT / "build" / "fuzz" / "guided" / target
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds().values():
            if kind.name in ("geojson", "cellvit", "halo", "measurements", "cohort", "folds", "maf", "kras.toml"):
                kind.make(Path(folder))
        for sound in Path(folder).iterdir():
            if sound.suffix == f".{SUFFIXES[target]}" or (target == "json" and sound.suffix == ".json"):
                (kept / f"sound-{sound.name}").write_bytes(_small(sound))
    file = Path(tempfile.mkdtemp()) / f"s.{SUFFIXES[target]}"

    def one(data: bytes) -> None:
        file.write_bytes(data)
        try:
            parse(file)
        except KrasError as e:
            if not (e.message.strip() and e.hint.strip()):
                raise AssertionError(f"an error without cause or remedy: {e.message!r}, {e.hint!r}") from e

    limits = [
        f"-max_total_time={seconds}",
        "-timeout=60",
        "-rss_limit_mb=4096",
        "-max_len=8000",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], str(kept), f"-artifact_prefix={kept}/fault-", *limits], one)
    os.chdir(kept)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
