"""What two Dask workers on this machine are worth: `python benchmarks/cluster.py fits`, or `… slides`.

    fits    the nested cross-validation of the TCGA tables: this process, one worker, two workers
    slides  tile features of the same slides: this process on all cores, two workers with half of them each

All variants take turns, in another order each round, each time with an empty store. Before the clock starts, workers
have joined, models are loaded and small slides are done. Prints seconds of every turn, the ratio within each round,
and the median ratio with its range. One BLAS thread per worker. On two cores `--rounds 3` takes under four minutes.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from embed import make_slide, real_pixels

from kras_plugins import SlideRef
from kras_plugins.engines.clusters import started
from kras_plugins.engines.options import DaskOptions
from kras_plugins.host.parts import open_parts
from kras_plugins.learning.samples import assemble
from kras_plugins.processing.execution import process_slides, workers
from kras_plugins.study.learn import learn
from kras_plugins.study.prepare import parts_of, prepare
from kras_plugins.study.session import Session, opened, process
from kras_plugins.study.settings import StudySettings

ROOT = Path(__file__).resolve().parents[1]
TCGA = Path(os.environ.get("KRAS_SHARED_DATA") or ROOT.parent / "shared" / "data") / "tcga"
Turn = Callable[[StudySettings], float]


@contextmanager
def session(settings: StudySettings, folder: Path) -> Iterator[Session]:
    """A session with an empty store, which is removed at the end."""
    store = Path(tempfile.mkdtemp(dir=folder))
    try:
        with opened(settings.model_copy(update={"cache": store})) as made:
            yield made
    finally:
        shutil.rmtree(store)


@contextmanager
def scheduler(jobs: int, folder: Path) -> Iterator[DaskOptions]:
    """Options for reaching a cluster on this machine, which stays for all turns."""
    with started(DaskOptions(cluster="local", jobs=jobs)) as cluster:
        files = {}
        for name in ("tls_ca_file", "tls_client_cert", "tls_client_key"):
            files[name] = folder / f"{jobs}-{name}.pem"
            files[name].write_text(getattr(cluster.security, name))
        yield DaskOptions(scheduler=cluster.scheduler_address, **files)


def fits(folder: Path, told: argparse.Namespace) -> tuple[StudySettings, Turn]:
    """A cross-validation of patients of two histologies, as `kras run --profile-table` does it."""
    rows = list(csv.DictReader((TCGA / "kras_labels.csv").open(newline="")))
    with (folder / "cohort.csv").open("w", newline="") as f:
        table = csv.writer(f)
        table.writerow(["patient_id", "slide_id", "histology", "site", "g12c"])
        for row in rows:
            name, mixed = row["PATIENT_BARCODE"], row["kras_g12c"] == "1" and row["kras_hgvsp"] != "p.Gly12Cys"
            table.writerow([name, name, row["DISEASE"], name.split("-")[1], "" if mixed else row["kras_g12c"]])
    settings = StudySettings(classifiers=tuple(told.classifiers.split(",")), folds=5).with_options(
        f"classifier.rf.trees={told.trees}", f"classifier.mlp.seeds={told.seeds}", "classifier.rf.jobs=1"
    )
    settings = settings.with_tables([TCGA / "hif_luad.csv.gz", TCGA / "hif_lusc.csv.gz"])

    with session(settings, folder) as made:
        prepared = prepare(made, folder / "cohort.csv", folder / "out")
        with parts_of(made, prepared) as parts:
            cases = assemble(prepared.table.patients, process(made, prepared.slides, parts).results)

    def turn(settings: StudySettings) -> float:
        with session(settings, folder) as made:
            if made.elsewhere is not None:
                made.elsewhere.fits(made)
            began = time.perf_counter()
            learn(made, prepared, cases)
            return time.perf_counter() - began

    return settings, turn


def slides(folder: Path, told: argparse.Namespace) -> tuple[StudySettings, Turn]:
    """Bags of slides of different sizes, and of two small ones before the clock starts."""
    sides = [1024, 1024, *(told.side * (2 + i % 3) // 3 for i in range(told.slides))]
    refs, pixels = [], real_pixels()
    for i, side in enumerate(sides):
        # Each has its own pixels: what one slide shares with another would be made once and found in the store.
        make_slide(folder / f"{i}.svs", side, np.roll(pixels, 16 * i, axis=1))
        refs.append(SlideRef(patient_id=f"p{i}", slide_id=f"s{i}", path=folder / f"{i}.svs"))

    def turn(settings: StudySettings) -> float:
        with ExitStack() as stack:
            made = stack.enter_context(session(settings, folder))
            parts = stack.enter_context(
                open_parts(made.registry, made.config, extractors=["vit"], profiler=None, backend="local")
            )
            work = stack.enter_context(workers(made.store, made.settings.workers))
            engine = None
            if made.elsewhere is not None:
                engine = stack.enter_context(made.elsewhere.slides(made, parts, lambda *_: None))
            process_slides(refs[:2], parts, work, None, engine)  # one a worker
            began = time.perf_counter()
            _, failures = process_slides(refs[2:], parts, work, None, engine)
            assert not failures, failures
            return time.perf_counter() - began

    return StudySettings().with_options("extractor.vit.model=vit-mini"), turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fits", "slides"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--classifiers", default="mlp,rf")
    parser.add_argument("--trees", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--slides", type=int, default=8)
    parser.add_argument("--side", type=int, default=6144)
    told = parser.parse_args()
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        settings, turn = {"fits": fits, "slides": slides}[told.what](Path(name), told)
        places = {n: stack.enter_context(scheduler(n, Path(name))) for n in ((1, 2) if told.what == "fits" else (2,))}
        shared = settings.model_copy(update={"workers": max(1, cores // 2)})
        if told.what == "slides":
            shared = shared.with_options(f"backend.local.threads={shared.workers}")
        elsewhere = {n: shared.model_copy(update={"engine": "dask", "dask": place}) for n, place in places.items()}
        variants = {"this process": settings, **{f"workers: {n}": each for n, each in elsewhere.items()}}
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        for i in range(told.rounds):
            names = list(variants)
            for name in names[i % len(names) :] + names[: i % len(names)]:
                seconds[name].append(turn(variants[name]))
                print(f"round {i + 1}, {name}: {seconds[name][-1]:.1f} s", flush=True)
    base = "workers: 1" if told.what == "fits" else "this process"
    for name in variants:
        ratios = [before / own for before, own in zip(seconds[base], seconds[name], strict=True)]
        print(
            f"{name}: {statistics.median(seconds[name]):.1f} s, {statistics.median(ratios):.2f} × the rate of {base} "
            f"({min(ratios):.2f} to {max(ratios):.2f}); load {os.getloadavg()[0]:.1f}"
        )


if __name__ == "__main__":
    main()
