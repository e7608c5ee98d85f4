"""Tiles that processes read are those that threads read, and a reader that fails in one costs its slide alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest

from kras_plugins.data import SlideRef, TileGrid, TileSpec
from kras_plugins.errors import PluginError, SlideError
from kras_plugins.host.config import load_config
from kras_plugins.host.isolation import Overdue, deadline
from kras_plugins.host.manager import discover
from kras_plugins.host.parts import UsableReader, usable_readers
from kras_plugins.processing import readers as module
from kras_plugins.processing.readers import Readers
from kras_plugins.processing.reading import WINDOW_S, Watch, read_tiles
from kras_plugins.slides.slide import open_slide
from kras_plugins.slides.stream import stream_tiles
from kras_plugins.testing import draw_slide

pytestmark = pytest.mark.skipif(Readers(1).count == 0, reason="without memfd threads read")

PATTERN = """
import os
import time
from multiprocessing import parent_process

import numpy as np

from kras_plugins import Level, ReaderOptions, ReaderPlugin, hookimpl


class Source:
    levels, mpp, objective_power, properties, quickhash = (Level(width=900, height=700),), (0.5, 0.5), None, {}, None

    def __init__(self, path):
        self.name = path.name

    def read_level(self, level, xy, size):
        if parent_process() is not None and self.name.startswith("dies"):
            os._exit(3)
        if parent_process() is not None and self.name.startswith("hangs"):
            time.sleep(600)
        x, y = (np.arange(at, at + n) for at, n in zip(xy, size))
        return (7 * x[None, :, None] + 3 * y[:, None, None] + np.arange(3)).astype(np.uint8)

    def close(self):
        pass


def opened(path, options):
    return Source(path)


@hookimpl
def kras_readers():
    yield ReaderPlugin(name="pattern", summary="a pattern", options=ReaderOptions, suffixes=(".pat",), open=opened)
"""


@pytest.fixture
def loose(tmp_path):
    """A reader in a loose file: the file, and the reader."""
    file = tmp_path / "pattern.py"
    file.write_text(PATTERN)
    found = usable_readers(discover(files=[file]), load_config(None))
    return file, next(r for r in found if r.plugin.name == "pattern")


def slide_named(folder: Path, name: str, reader: UsableReader):
    path = folder / name
    path.write_bytes(b"pattern")
    return open_slide(SlideRef(patient_id="p", slide_id=name, path=path), [reader])


def grid_of(slide, px=100, mpp=0.5, halo=8) -> TileGrid:
    side = px * mpp / slide.mpp[0]
    x, y = np.meshgrid(np.arange(0, slide.size[0], side), np.arange(0, slide.size[1], side))
    xy = np.rint(np.stack([x.ravel(), y.ravel()], 1)).astype(np.int32)
    spec = TileSpec(px=px, mpp=mpp, halo_px=halo)
    return TileGrid(spec=spec, xy=xy, size=(side, side), tissue=np.ones(len(xy), np.float32))


def pixels_of(batches) -> np.ndarray:
    """All tiles, after their numbers were found to be in order and without gaps."""
    batches = list(batches)
    assert batches[0].first == 0
    assert all(b.first == a.first + len(a.pixels) for a, b in pairwise(batches))
    return np.concatenate([b.pixels for b in batches])


@pytest.mark.parametrize("name", ["tiff", "openslide"])
def test_processes_read_the_same_tiles_in_the_same_order(tmp_path, name):
    draw_slide(tmp_path / "s.tiff", seed=0, size_um=(320.0, 320.0))
    reader = next(r for r in usable_readers(discover(), load_config(None)) if r.plugin.name == name)
    ref = SlideRef(patient_id="p", slide_id="s", path=tmp_path / "s.tiff")
    before = active_children()
    with open_slide(ref, [reader], name) as slide, Readers(2, store=tmp_path) as readers:
        grid = grid_of(slide, px=96, mpp=slide.mpp[0] * 1.37)  # resampled, and beyond the edge
        readers.wanted = True
        there = pixels_of(read_tiles(slide, grid, 4, threads=2, reader=reader, readers=readers))
        assert all(lane.process._all for lane in readers._lanes)
        np.testing.assert_array_equal(there, pixels_of(stream_tiles(slide, grid, batch=4, threads=2)))
    assert set(active_children()) <= set(before)


def test_processes_take_over_in_the_middle_of_a_slide(tmp_path, loose):
    file, reader = loose
    with slide_named(tmp_path, "a.pat", reader) as slide, Readers(2, [file], tmp_path) as readers:
        grid, batches = grid_of(slide), []
        for batch in read_tiles(slide, grid, 5, threads=2, reader=reader, readers=readers):
            assert len(batches) >= 2 or not readers._lanes[0].process._all
            batches.append(batch)
            readers.wanted = len(batches) >= 2
        assert any(lane.process._all for lane in readers._lanes)
        np.testing.assert_array_equal(pixels_of(batches), pixels_of(stream_tiles(slide, grid, batch=5, threads=2)))


def test_a_reader_that_ends_or_hangs_its_process_costs_its_slide_alone(tmp_path, loose):
    file, reader = loose
    with Readers(2, [file], tmp_path) as readers:
        readers.wanted = True

        def tiles(name):
            with slide_named(tmp_path, name, reader) as slide:
                grid = grid_of(slide)
                return pixels_of(read_tiles(slide, grid, 8, threads=2, reader=reader, readers=readers))

        with pytest.raises(PluginError, match=r"reader 'pattern' .*ended its worker process \(exit code 3\)"):
            tiles("dies.pat")
        with deadline(2), pytest.raises(Overdue, match="reader 'pattern' .*gave no answer for 2 s"):
            tiles("hangs.pat")
        assert len(tiles("works.pat")) == 63


def test_a_file_that_becomes_another_is_told(tmp_path, loose):
    file, reader = loose
    with slide_named(tmp_path, "a.pat", reader) as slide, Readers(1, [file], tmp_path) as readers:
        (tmp_path / "a.pat").write_bytes(b"another")
        readers.wanted = True
        with pytest.raises(SlideError, match=r"a\.pat: changed while it was read"):
            pixels_of(read_tiles(slide, grid_of(slide), 8, threads=1, reader=reader, readers=readers))


def test_a_reader_that_cannot_be_sent_is_read_by_threads(tmp_path, loose):
    _, reader = loose
    opened = reader.plugin.open
    local = replace(reader, plugin=replace(reader.plugin, open=lambda path, options: opened(path, options)))
    with slide_named(tmp_path, "a.pat", local) as slide, Readers(1, store=tmp_path) as readers:
        readers.wanted = True
        assert readers.read(slide, local, 800.0) is None
        assert len(pixels_of(read_tiles(slide, grid_of(slide), 8, threads=1, reader=local, readers=readers))) == 63


def test_batches_below_each_other_go_to_one_process_while_it_is_idle():
    readers = Readers(3)
    with readers._lane(4) as one, readers._lane(4) as other:
        assert one is readers._lanes[1] and other is readers._lanes[0]
    with readers._lane(7) as again:
        assert again is one


def test_processes_share_the_memory_for_decoded_tiles():
    found = usable_readers(discover(), load_config(None, ["reader.tiff.cache_mb=64"]))
    shares = {r.plugin.name: module._sharing_out(r, 16).options.cache_mb for r in found if r.plugin.name != "pattern"}
    assert shares == {"tiff": 4, "openslide": 8, "dicomweb": 8}


@pytest.mark.parametrize(
    ("waited", "used", "found"),
    [(0.9, 0.5, True), (0.4, 0.5, False), (0.9, 0.8, False)],
    ids=["waits beside idle cores", "the model is busy", "the cores are busy"],
)
def test_threads_hold_each_other_up_where_a_model_waits_beside_idle_cores(monkeypatch, waited, used, found):
    """`waited`: share of the time that the model waits, `used`: of 8 cores' time that the process takes."""
    monkeypatch.setattr("kras_plugins.processing.reading.cores", lambda: 8)
    now = [0.0]
    watch = Watch(8, clock=lambda: now[0], cpu=lambda: 8 * used * now[0])
    step, seen = WINDOW_S / 10, []
    for _ in range(40):
        now[0] += step
        seen.append(watch.held_up(waited * step))
    assert any(seen) is found
    assert not any(seen[:9])  # a window is looked at as a whole
