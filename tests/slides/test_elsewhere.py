"""Slides at a URL: the pixels and the fingerprint of the file on a disk, for few bytes, and what goes wrong said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from range_server import Behavior, range_server
from tiff_files import READERS, level_zero

from kras_plugins import Level, PluginError, ReaderPlugin, SlideSource
from kras_plugins.data import SlideRef, TileGrid, TileSpec
from kras_plugins.errors import SlideError
from kras_plugins.host.parts import UsableReader
from kras_plugins.remote import objects
from kras_plugins.remote.objects import Bucket
from kras_plugins.remote.staging import current, staging
from kras_plugins.slides.slide import Slide, open_slide
from kras_plugins.slides.stream import stream_tiles
from kras_plugins.testing import draw_slide
from kras_plugins.urls import Url

SIDE, TILE = 8192, 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn slide, a field, and a pyramid of JPEG tiles, of which most lie beyond the first and the last MiB."""
    folder = tmp_path_factory.mktemp("served")
    draw_slide(folder / "drawn.tiff", seed=4, size_um=(600.0, 600.0))
    rng = np.random.default_rng(5)
    imagecodecs_png = imagecodecs.png_encode(rng.integers(0, 256, (70, 90, 3), np.uint8))
    (folder / "field.png").write_bytes(imagecodecs_png)
    some = [imagecodecs.jpeg_encode(rng.integers(0, 256, (TILE, TILE, 3), np.uint8), level=60) for _ in range(7)]
    with tifffile.TiffWriter(folder / "large.tif", bigtiff=True) as tif:
        for level, side in enumerate((SIDE, SIDE // 4, SIDE // 16)):
            count = (side // TILE) ** 2
            tif.write(
                (some[(3 * i) % 7] for i in range(count)), shape=(side, side, 3), dtype=np.uint8, tile=(TILE, TILE),
                photometric="ycbcr", compression="jpeg", subfiletype=min(level, 1), subsampling=(1, 1),
                resolution=(1e4 / 0.25, 1e4 / 0.25), resolutionunit="CENTIMETER",
            )  # fmt: skip
    return folder


@pytest.fixture
def served(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Behavior]]:
    monkeypatch.setenv("KRAS_LOCAL_CACHE", str(tmp_path / "here"))
    monkeypatch.setattr(objects, "RETRY", objects.RETRY | {"max_retries": 1})
    objects._opened.cache_clear()
    with range_server(folder) as at:
        yield at
    objects._opened.cache_clear()


def at(url: str, want: str | None = None, mpp: float | None = 0.25) -> Slide:
    return open_slide(SlideRef(patient_id="p", slide_id="s", url=Url(url), mpp=mpp), READERS, want)


def here(path: Path, want: str | None = None) -> Slide:
    return open_slide(SlideRef(patient_id="p", slide_id="s", path=path, mpp=0.25), READERS, want)


@pytest.mark.parametrize("name", ["drawn.tiff", "field.png", "large.tif"])
def test_it_has_the_pixels_and_the_fingerprint_of_the_file(
    folder: Path, served: tuple[str, Behavior], name: str
) -> None:
    with at(f"{served[0]}/{name}", "tiff") as far, here(folder / name, "tiff") as near:
        assert far.fingerprint == near.fingerprint and far.fingerprint.startswith("sha256:")
        assert (far.size, far.mpp, far.levels) == (near.size, near.mpp, near.levels)
        for xy, size, mpp in (((-9.0, 5.5), (200, 100), 0.5), ((1.0, 2.0), (64, 64), 0.25)):
            np.testing.assert_array_equal(far.read(xy, size, mpp), near.read(xy, size, mpp))
        np.testing.assert_array_equal(far.thumbnail(8.0)[0], near.thumbnail(8.0)[0])
        assert far.file is None and near.transfer() is None


def test_tiles_cost_their_own_bytes_and_what_the_file_says_of_itself(
    folder: Path, served: tuple[str, Behavior]
) -> None:
    url, behavior = served
    rng = np.random.default_rng(6)
    spec = TileSpec(px=224, mpp=0.5, halo_px=16)
    spots = [(x, y) for y in range(9) for x in range(16) if rng.random() < 0.5]
    xy = np.array([(500 + 448 * x, 2500 + 448 * y) for x, y in spots], np.int32)
    grid = TileGrid(spec=spec, xy=xy, size=(448.0, 448.0), tissue=np.ones(len(xy), np.float32))
    with at(f"{url}/large.tif") as far:
        opened = far.transfer()
        assert opened is not None
        got = [batch.pixels for batch in stream_tiles(far, grid, batch=8, threads=3)]
        transfer = far.transfer()
    with here(folder / "large.tif", "tiff") as near:
        want = [batch.pixels for batch in stream_tiles(near, grid, batch=8, threads=3)]
    np.testing.assert_array_equal(np.concatenate(got), np.concatenate(want))
    with tifffile.TiffFile(folder / "large.tif") as tif:
        counts, columns = tif.pages[0].databytecounts, SIDE // TILE
    used = {
        row * columns + column
        for x, y in xy.tolist()
        for row in range((y - 32) // TILE, (y + 448 + 31) // TILE + 1)
        for column in range((x - 32) // TILE, (x + 448 + 31) // TILE + 1)
    }
    tiles = sum(counts[i] for i in used)
    assert transfer is not None and transfer["bytes"] == behavior.sent
    assert transfer["size"] == (folder / "large.tif").stat().st_size
    ratio = (transfer["bytes"] - opened["bytes"]) / tiles
    assert ratio <= 1.15, f"{ratio:.3f} of the tiles' bytes"
    assert opened["bytes"] <= (2 << 20) + (256 << 10)
    assert transfer["bytes"] < 0.7 * transfer["size"]
    assert transfer["requests"] < len(used) / 2  # neighbors come together


def test_a_reader_of_files_gets_a_copy_that_goes_when_it_is_done(
    folder: Path, served: tuple[str, Behavior], tmp_path: Path
) -> None:
    with at(f"{served[0]}/drawn.tiff", "openslide") as far, here(folder / "drawn.tiff", "openslide") as near:
        assert far.fingerprint == near.fingerprint and far.fingerprint.startswith("quickhash:")
        np.testing.assert_array_equal(level_zero(far), level_zero(near))
        copy = far.file
        assert copy is not None and copy.is_relative_to(tmp_path / "here") and copy.name == "drawn.tiff"
        assert (facts := far.transfer()) is not None and facts["copied"] == (folder / "drawn.tiff").stat().st_size
    assert not copy.exists() and not [f for f in tmp_path.rglob("*") if f.is_file()]


def test_within_a_call_a_copy_serves_again_and_progress_is_told(
    folder: Path, served: tuple[str, Behavior], tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    with staging(lambda what, done, total: told.append((what, done, total))):
        for _ in range(2):
            with at(f"{served[0]}/drawn.tiff", "openslide") as far:
                copy = far.file
        assert copy is not None and copy.exists()
        assert len([asked for asked in served[1].asked if asked[0] == "GET"]) == 1
        assert told and told[-1][0] == "copying drawn.tiff, MB" and told[-1][1] == told[-1][2] >= 1
    assert not copy.exists() and current() is None


def test_copies_make_room_for_each_other_within_the_bound(
    folder: Path, served: tuple[str, Behavior], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (folder / "drawn.tiff").stat().st_size
    monkeypatch.setenv("KRAS_LOCAL_CACHE_GB", f"{1.5 * size / 1e9:.9f}")
    with staging():
        with at(f"{served[0]}/drawn.tiff", "openslide") as one:
            first = one.file
        with at(f"{served[0]}/drawn.tiff?version=2", "openslide") as two:
            assert first is not None and not first.exists() and two.file is not None and two.file.exists()
        monkeypatch.undo()
    monkeypatch.setenv("KRAS_LOCAL_CACHE_GB", f"{0.5 * size / 1e9:.9f}")
    with pytest.raises(SlideError, match="more than may be copied here"):
        at(f"{served[0]}/drawn.tiff", "openslide")


def test_threads_that_open_one_slide_copy_it_once(served: tuple[str, Behavior]) -> None:
    served[1].delay = 0.1
    with staging():
        here = current()
        assert here is not None
        url, found = Url(f"{served[0]}/drawn.tiff"), set()
        threads = [threading.Thread(target=lambda: found.add(here.take(url))) for _ in range(3)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert len(found) == 1 and len(served[1].asked) == 1


def test_a_server_without_ranges_gives_the_whole_slide_with_a_warning(
    folder: Path, served: tuple[str, Behavior]
) -> None:
    served[1].ranges = False
    with at(f"{served[0]}/drawn.tiff", "tiff") as far, here(folder / "drawn.tiff", "tiff") as near:
        assert far.fingerprint == near.fingerprint
        np.testing.assert_array_equal(level_zero(far), level_zero(near))
        assert [w for w in far.warnings if "no byte ranges" in w]


def test_a_slide_that_changes_while_its_tiles_are_read_is_set_aside(served: tuple[str, Behavior]) -> None:
    url, behavior = served
    with at(f"{url}/large.tif") as far:
        behavior.changes_after = len(behavior.asked) + 1
        far.read((3000.0, 3000.0), (200, 200), 0.25)
        with pytest.raises(SlideError, match=r"large\.tif: was changed while it was read"):
            far.read((5000.0, 5000.0), (200, 200), 0.25)


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda b: b.statuses.extend([404] * 9), "there is no such object"),
        (lambda b: b.statuses.extend([403] * 9), "may not do that, or have expired"),
        (lambda b: b.statuses.extend([503] * 9), "busy or failed"),
    ],
    ids=["absent", "forbidden", "busy"],
)
@pytest.mark.parametrize("reader", ["tiff", "openslide"])
def test_what_the_server_refuses_is_told_by_both_ways(
    served: tuple[str, Behavior], break_it: Callable[[Behavior], None], why: str, reader: str
) -> None:
    break_it(served[1])
    with pytest.raises(SlideError, match=why) as e:
        at(f"{served[0]}/drawn.tiff?sig=S3CRET", reader)
    assert "S3CRET" not in str(e.value) and "/drawn.tiff" in e.value.message


def test_an_empty_object_and_an_unknown_ending_are_told(folder: Path, served: tuple[str, Behavior]) -> None:
    (folder / "empty.svs").write_bytes(b"")
    with pytest.raises(SlideError, match="is empty|no byte ranges|cannot be read|does not know"):
        at(f"{served[0]}/empty.svs")
    with pytest.raises(SlideError, match="no reader knows the suffix '.xyz'"):
        at(f"{served[0]}/a.xyz")
    with pytest.raises(SlideError, match="consists of several files"):
        at(f"{served[0]}/a.vms")


def test_a_slide_in_a_bucket(folder: Path, bucket: str) -> None:
    url = Url(f"{bucket}/some folder/drawn.tiff")
    Bucket(url).put(url.key, folder / "drawn.tiff")
    for reader in ("tiff", "openslide"):
        with at(url.text, reader) as far, here(folder / "drawn.tiff", reader) as near:
            assert far.fingerprint == near.fingerprint
            np.testing.assert_array_equal(level_zero(far), level_zero(near))


def test_a_mirax_slide_comes_with_its_folder(bucket: str, tmp_path: Path) -> None:
    url = Url(f"{bucket}/a/slide.mrxs")
    for key in ("a/slide.mrxs", "a/slide/Slidedat.ini", "a/slide/Data0000.dat", "a/slide2/other.dat"):
        Bucket(url).put(key, key.encode())
    with staging():
        here = current()
        assert here is not None
        copy = here.take(url)
        assert sorted(f.name for f in copy.parent.rglob("*") if f.is_file()) == [
            "Data0000.dat", "Slidedat.ini", "slide.mrxs",
        ]  # fmt: skip


class Service(SlideSource):
    """What a reader got from a service: one white level."""

    def __init__(self, quickhash: str | None) -> None:
        self.levels, self.quickhash = (Level(width=40, height=30),), quickhash

    def read_level(self, level: int, xy: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        return np.full((*size[::-1], 3), 255, np.uint8)

    def prefetch(self, level: int, boxes: object) -> None:
        """All of it is here."""

    def transfer(self) -> dict[str, int]:
        return {"bytes": 7, "requests": 1}


def asking(quickhash: str | None = "abc") -> UsableReader:
    plugin = ReaderPlugin(
        name="asking",
        summary="asks",
        addresses=r"https://host/\d+",
        open_address=lambda _url, _options: Service(quickhash),
    )
    return UsableReader(plugin, plugin.options())


def test_an_address_that_a_reader_asks_for_goes_to_it_alone() -> None:
    ref = SlideRef(patient_id="p", slide_id="s", url=Url("https://host/12?key=1"), mpp=0.5)
    with open_slide(ref, [*READERS, asking()]) as slide:
        assert (slide.reader, slide.fingerprint, slide.file) == ("asking", "quickhash:abc", None)
        assert slide.transfer() == {"bytes": 7, "requests": 1}
    with pytest.raises(PluginError, match="states no quickhash"):
        open_slide(ref, [asking(None)])
    with pytest.raises(SlideError, match="no reader knows the suffix"):
        open_slide(SlideRef(patient_id="p", slide_id="s", url=Url("https://host/x")), [*READERS, asking()])


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ({}, "opens nothing"),
        ({"addresses": "https://.*"}, "opens nothing, or not what it states"),
        ({"suffixes": (".a",), "open": print, "open_address": print}, "not what it states"),
        ({"addresses": "(", "open_address": print}, "not a regular expression"),
    ],
    ids=["nothing", "no function", "no addresses", "no expression"],
)
def test_a_record_that_cannot_open_what_it_says_is_refused(own: dict[str, object], why: str) -> None:
    with pytest.raises(PluginError, match=why):
        ReaderPlugin(name="asking", summary="asks", **own)  # type: ignore[arg-type]
