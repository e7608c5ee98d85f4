"""Slides in the store: keyed by all that decides a result, reported alike both times, kept apart from dead workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from kras_plugins.data import SlideRef
from kras_plugins.errors import BackendError, PluginError, SlideError
from kras_plugins.host.config import load_config
from kras_plugins.host.manager import Registry, discover
from kras_plugins.host.parts import Parts, open_parts
from kras_plugins.processing.execution import process_slides, shard, workers
from kras_plugins.processing.pipeline import key_of_part, key_of_tissue, process_slide
from kras_plugins.slides.slide import open_slide
from kras_plugins.store import Store
from kras_plugins.testing import draw_slide

PLUGIN = """
import os, signal
import numpy as np
from kras_plugins import ExtractorPlugin, ProfilerPlugin, TileCells, TileSpec, hookimpl

class Dead:
    def predict(self, tiles):
        return {"x": tiles[:, :1, :1, 0]}
    @staticmethod
    def decode(outputs, tile):
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory is out

class Alive(Dead):
    @staticmethod
    def decode(outputs, tile):
        half = np.array([tile.pixels.shape[0] / 2], "float32")
        return TileCells(x=half, y=half, classes=["tumor"])

def color(tiles):
    return tiles.mean((1, 2)).astype("float32")

def fails(tiles):
    raise ValueError("no luck")

@hookimpl
def kras_extractors():
    for name, work in (("color", color), ("fails", fails), ("nan", lambda t: color(t) * np.nan),
                       ("wide", lambda t: np.zeros((len(t), 4), "float32"))):
        yield ExtractorPlugin(name=name, summary=name, tile=lambda o: TileSpec(px=128, mpp=0.5), dim=lambda o: 3,
                              create=lambda options, infer, work=work: work)

@hookimpl
def kras_profilers():
    for name, made in (("dead", Dead()), ("alive", Alive())):
        yield ProfilerPlugin(name=name, summary=name, tile=lambda o: TileSpec(px=256, mpp=0.5),
                             create=lambda options, infer, made=made: made)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plugin") / "loose_parts.py"
    file.write_text(PLUGIN)
    return file


@pytest.fixture(scope="module")
def registry(plugin: Path) -> Registry:
    return discover(files=[plugin])


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> SlideRef:
    path = tmp_path_factory.mktemp("slides") / "one.tiff"
    draw_slide(path, seed=1, size_um=(512.0, 512.0))
    return SlideRef(patient_id="p", slide_id="one", path=path)


def opened(
    registry: Registry, extractor: str | None, profiler: str | None = None, *options: str
) -> AbstractContextManager[Parts]:
    config = load_config(None, options)
    return open_parts(registry, config, extractors=[extractor] if extractor else [], profiler=profiler, backend="local")


def test_the_store_key_holds_the_precision_that_is_used_not_the_one_asked_for(registry: Registry) -> None:
    tiny = ("extractor.vit.model=vit_tiny_patch16_224", "extractor.vit.weights=random:0")
    with opened(registry, "vit", None, *tiny) as asked:
        auto = asked.extractors[""].facts["backend"]
        assert auto["precision"] in {"bf16", "f32"}
    with opened(registry, "vit", None, *tiny, f"backend.local.precision={auto['precision']}") as told:
        assert told.extractors[""].facts == asked.extractors[""].facts


def test_pixels_read_in_other_colors_are_stored_under_another_key(registry: Registry, slide: SlideRef) -> None:
    keys = set()
    for icc in ("ignore", "srgb"):
        with opened(registry, "color", None, f"reader.openslide.icc={icc}") as parts:
            with open_slide(slide, parts.readers, "openslide") as one:
                keys.add(key_of_part("bag", parts.extractors[""], key_of_tissue(one)).digest)
    assert len(keys) == 2


def test_a_stored_result_says_what_the_first_one_said(registry: Registry, slide: SlideRef, tmp_path: Path) -> None:
    coarse = SlideRef(patient_id="p", slide_id="one", path=slide.path, mpp=0.55)
    with opened(registry, "color") as parts, workers(Store(tmp_path), 1) as work:
        first, again = (process_slide(coarse, parts, work) for _ in range(2))
    assert first.qc == again.qc
    assert any("enlarged" in reason for reason in first.qc.reasons)
    np.testing.assert_array_equal(first.bags[0].features, again.bags[0].features)


@pytest.mark.parametrize(
    ("extractor", "error", "message"),
    [("fails", PluginError, "no luck"), ("nan", BackendError, "NaN"), ("wide", PluginError, "its dim says")],
)
def test_an_extractor_that_misbehaves_is_named(
    registry: Registry, slide: SlideRef, tmp_path: Path, extractor: str, error: type[Exception], message: str
) -> None:
    with opened(registry, extractor) as parts, workers(Store(tmp_path), 1) as work:
        with pytest.raises(error, match=message):
            process_slide(slide, parts, work)
    assert not list(tmp_path.glob("*/*/bag.h5"))


def test_a_killed_worker_stops_the_run_and_is_blamed_neither_on_the_slide_nor_on_the_profiler(
    registry: Registry, plugin: Path, slide: SlideRef, tmp_path: Path
) -> None:
    with opened(registry, None, "dead") as parts, workers(Store(tmp_path), 1, [plugin]) as work:
        with pytest.raises(BackendError, match="a worker process was killed"):
            process_slides([slide], parts, work)


def test_a_profiler_in_a_loose_file_works_in_worker_processes(
    registry: Registry, plugin: Path, slide: SlideRef, tmp_path: Path
) -> None:
    with opened(registry, None, "alive") as parts, workers(Store(tmp_path), 1, [plugin]) as work:
        (result,), failures = process_slides([slide], parts, work)
    assert not failures
    assert result.profile is not None


def test_three_slides_failing_alike_stop_the_run_but_different_ones_do_not(
    registry: Registry, slide: SlideRef, tmp_path: Path
) -> None:
    gone = [SlideRef(patient_id=n, slide_id=n, path=tmp_path / f"{n}.tiff") for n in ("s1", "s2", "s3", "s4")]
    with opened(registry, "color") as parts, workers(Store(tmp_path / "store"), 1) as work:
        with pytest.raises(SlideError, match="first 3 slides failed alike"):
            process_slides(gone, parts, work)
        results, failures = process_slides([*gone[:2], slide, *gone[2:]], parts, work)
    assert (len(results), len(failures)) == (1, 4)


def test_shards_partition_the_slides(slide: SlideRef) -> None:
    slides = [SlideRef(patient_id="p", slide_id=str(i)) for i in range(7)]
    parts = [shard(slides, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(s.slide_id for part in parts for s in part) == [s.slide_id for s in slides]


def test_a_worker_that_is_still_importing_ignores_ctrl_c(tmp_path: Path) -> None:
    code = (
        "import multiprocessing, os, signal, threading, time\nfrom kras_plugins.processing.workers import Workers\n"
        "if __name__ == '__main__':\n"
        "    with Workers(1) as pool:\n"
        "        call = threading.Thread(target=lambda: print(pool.run('test', os.getpid)))\n        call.start()\n"
        "        while not (started := multiprocessing.active_children()):\n            time.sleep(0.001)\n"
        "        while call.is_alive():\n"
        "            os.kill(started[0].pid, signal.SIGINT)\n            time.sleep(0.01)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (done.stderr, done.stdout.strip().isdigit()) == ("", True)


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import os, time\nfrom pathlib import Path\nfrom kras_plugins.processing.execution import workers\n"
        "from kras_plugins.store import Store\n"
        "if __name__ == '__main__':\n"
        f"    with workers(Store(Path({str(tmp_path)!r})), 1) as w:\n"
        "        print(w.decode_pool.run('test', os.getpid), flush=True)\n        time.sleep(60)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists() or "State:\tZ" in Path(f"/proc/{worker}/status").read_text():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")
