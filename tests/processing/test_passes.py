"""Several extractors over one slide: the same bags as alone, and one pass over the pixels for equal tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kras_plugins.data import SlideRef
from kras_plugins.errors import BackendError
from kras_plugins.host.config import load_config
from kras_plugins.host.manager import Registry, discover
from kras_plugins.host.parts import open_parts
from kras_plugins.processing import embedding, pipeline
from kras_plugins.processing.execution import workers
from kras_plugins.processing.pipeline import SlideResult, process_slide
from kras_plugins.store import Store
from kras_plugins.testing import draw_slide

PLUGIN = """
import numpy as np
from kras_plugins import ExtractorPlugin, TileSpec, hookimpl

def color(tiles):
    return tiles.mean((1, 2)).astype("float32")

@hookimpl
def kras_extractors():
    for name, px, work in (("color", 128, color), ("red", 128, lambda t: color(t)[:, [0, 0, 0]]), ("large", 256, color),
                           ("nan", 128, lambda t: color(t) * np.nan)):
        yield ExtractorPlugin(name=name, summary=name, tile=lambda o, px=px: TileSpec(px=px, mpp=0.5), dim=lambda o: 3,
                              create=lambda options, infer, work=work: work)
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    file = tmp_path_factory.mktemp("plugin") / "colors.py"
    file.write_text(PLUGIN)
    return discover(files=[file])


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> SlideRef:
    path = tmp_path_factory.mktemp("slides") / "one.tiff"
    draw_slide(path, seed=1, size_um=(512.0, 512.0))
    return SlideRef(patient_id="p", slide_id="one", path=path)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The side in pixels of the tiles of each pass over a slide's pixels."""
    seen: list[int] = []
    read = pipeline.read_tiles

    def watched(slide, grid, *given, **named):
        seen.append(grid.spec.px)
        return read(slide, grid, *given, **named)

    monkeypatch.setattr(pipeline, "read_tiles", watched)
    return seen


def process(registry: Registry, slide: SlideRef, store: Path, *extractors: str) -> SlideResult:
    config = load_config(None)
    parts = open_parts(registry, config, extractors=extractors, profiler=None, backend="local")
    with parts as opened, workers(Store(store), 1) as work:
        return process_slide(slide, opened, work)


def test_extractors_of_equal_tiles_share_a_pass_and_others_have_their_own(
    registry: Registry, slide: SlideRef, tmp_path: Path, passes: list[int]
) -> None:
    found = process(registry, slide, tmp_path, "color", "large", "red")
    assert sorted(passes) == [128, 256]
    assert [(bag.extractor, bag.tile_spec.px) for bag in found.bags] == [("color", 128), ("large", 256), ("red", 128)]
    assert list(found.artifacts) == ["tissue", "bag@color", "bag@large", "bag@red"]
    color, red = found.bag_of("color"), found.bag_of("red")
    assert color is not None and red is not None
    np.testing.assert_array_equal(red.features, color.features[:, [0, 0, 0]])
    passes.clear()
    process(registry, slide, tmp_path, "red", "color")
    assert not passes


def test_a_bag_of_several_is_the_bag_of_one_alone_byte_for_byte(
    registry: Registry, slide: SlideRef, tmp_path: Path, passes: list[int]
) -> None:
    together = process(registry, slide, tmp_path / "together", "color", "red")
    for name in ("color", "red"):
        alone = process(registry, slide, tmp_path / "alone", name)
        assert alone.artifacts["bag"] == together.artifacts[f"bag@{name}"]
        assert [bag.extractor for bag in alone.bags] == [""]
        files = [Store(tmp_path / s).at(alone.artifacts["bag"]) for s in ("together", "alone")]
        one, other = ((folder / "bag.h5").read_bytes() for folder in files if folder is not None)
        assert one == other
    assert together.qc == alone.qc
    again = process(registry, slide, tmp_path / "alone", "color", "red")
    assert len(passes) == 3 and again.keys == together.keys


def test_a_bag_that_another_process_stores_meanwhile_leaves_no_other_one_empty(
    registry: Registry, slide: SlideRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, looked = Store.find, []

    def found_late(self: Store, key):
        """At the second look of the run for the second bag, somebody else has made it."""
        there = find(self, key)
        if key.kind == "bag" and "red" in key.text:
            looked.append(key)
            if len(looked) == 2:
                with monkeypatch.context() as usual:
                    usual.setattr(Store, "find", find)
                    process(registry, slide, self.root, "red")
                return find(self, key)
        return there

    monkeypatch.setattr(Store, "find", found_late)
    found = process(registry, slide, tmp_path, "color", "red")
    assert len(looked) >= 2
    assert [bag.features.shape for bag in found.bags] == [found.bags[0].features.shape] * 2
    np.testing.assert_array_equal(found.bags[1].features, found.bags[0].features[:, [0, 0, 0]])


def test_an_extractor_that_fails_leaves_no_bag_of_those_that_share_its_pass(
    registry: Registry, slide: SlideRef, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match="nan"):
        process(registry, slide, tmp_path, "color", "nan")
    assert not list(tmp_path.glob("*/*/bag.h5"))


def test_a_network_gets_its_own_batches_when_another_reads_larger_ones(slide: SlideRef) -> None:
    given: list[int] = []

    def embed(tiles: np.ndarray) -> np.ndarray:
        given.append(len(tiles))
        return tiles.mean((1, 2)).astype(np.float32)

    part = type("Part", (), {"provided": type("P", (), {"id": "x"}), "made": staticmethod(embed), "batch": 4})()
    tiles = np.random.default_rng(0).integers(0, 255, (10, 2, 2, 3), np.uint8)
    found = embedding._embedded(part, 3, tiles, slide)  # type: ignore[arg-type]
    assert given == [4, 4, 2]
    np.testing.assert_array_equal(found, tiles.mean((1, 2)).astype(np.float32))
