"""A series on a real DICOMweb server has the pixels of its files on a disk, and costs the frames that are looked at."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from dicom_slides import CODECS, STUDY, instance, other_kind, pyramid, save
from dicomweb_server import Front, Server, orthanc, proxy
from planted import LIME, MAGENTA, PLANTED
from tiff_files import READERS

import kras_reader_dicomweb
from kras_plugins import ConfigError, ContentError, SlideError, Url
from kras_plugins.data import SlideRef
from kras_plugins.host.parts import UsableReader
from kras_plugins.slides.slide import Slide, open_slide
from kras_plugins.testing.checks.candidate import Given, candidates
from kras_plugins.testing.checks.catalog import checks_of
from kras_plugins.testing.checks.run import run_check
from kras_reader_dicomweb import DicomWebOptions, service
from kras_reader_dicomweb.header import Header
from kras_reader_dicomweb.level import levels_of, volumes

(PLUGIN,) = kras_reader_dicomweb.kras_readers()
MISSING = (1, 4)
SERIES = {name: f"1.2.826.0.1.3680043.9.20.2.{number}" for number, name in enumerate(CODECS, start=1)}
HASTY = service.RETRY | {"total": 4, "connect": 1, "read": 1, "backoff_factor": 0.01, "backoff_jitter": 0}
BLANK = np.full((64, 64, 3), 255, np.uint8)


def blocks() -> np.ndarray:
    """A picture of 300 x 200 pixels in blocks of color."""
    some = np.random.default_rng(20).integers(0, 256, (25, 38, 3), np.uint8)
    return np.kron(some, np.ones((8, 8, 1), np.uint8))[:, :300]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of three levels in a folder for each codec; the second level lacks two tiles."""
    folder = tmp_path_factory.mktemp("dicom")
    picture = blocks()
    levels = [picture, picture[::2, ::2], picture[::4, ::4]]
    for name, series in SERIES.items():
        save(pyramid(levels, series, codec=name, sparse=True, missing=MISSING), folder / name)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        server.store(sorted(folder.rglob("*.dcm")))
        yield server


@pytest.fixture
def front(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Front]]:
    """The JPEG slide behind a proxy, which is asked again without much patience."""
    monkeypatch.setattr(service, "RETRY", HASTY)
    with proxy(server) as (before, front):
        yield before.series(STUDY, SERIES["jpeg"]), front


def at(address: str, **options: object) -> Slide:
    readers = [UsableReader(PLUGIN, DicomWebOptions.model_validate(options)), *READERS]
    return open_slide(SlideRef(patient_id="p", slide_id="s", url=Url(address)), readers)


def here(file: Path) -> Slide:
    return open_slide(SlideRef(patient_id="p", slide_id="s", path=file), READERS)


def pixels(slide: Slide, level: int) -> np.ndarray:
    size = slide.levels[level]
    return slide._read_level(level, (0, 0), (size.width, size.height))


def frames(front: Front) -> list[str]:
    """What was asked for of which instance: `NUMBER/frames/1,2,3`."""
    return [m[1] for path, *_ in front.asked if (m := re.search(r"\.(\d+/frames/[\d,]+)", path))]


@pytest.mark.parametrize("codec", CODECS)
def test_it_has_the_levels_the_scale_and_the_pixels_of_the_files(server: Server, folder: Path, codec: str) -> None:
    with at(server.series(STUDY, SERIES[codec])) as far, here(folder / codec / "1.dcm") as near:
        assert (far.reader, near.reader) == ("dicomweb", "openslide")
        assert far.levels == near.levels and len(far.levels) == 3
        assert far.mpp == near.mpp == (0.25, 0.5) and far.mpp_source == "file"
        assert far.objective == near.objective == 20
        for level in range(3):
            np.testing.assert_array_equal(pixels(far, level), pixels(near, level))
        assert (pixels(far, 1)[:64, 64:128] == 255).all()  # a tile that is missing
        np.testing.assert_array_equal(far.read((31.5, -7), (90, 70), 0.75), near.read((31.5, -7), (90, 70), 0.75))


def test_a_real_slide_of_a_scanner(server: Server, shared_data: Path) -> None:
    files = sorted((shared_data / "slides/dicom").glob("*.dcm"))
    server.store(files)
    root = "1.3.6.1.4.1.5962.99.1.1747645553.419656796.1689669825649"
    with proxy(server) as (before, front):
        with at(before.series(f"{root}.5.0", f"{root}.4.0")) as far, here(files[0]) as near:
            assert far.levels == near.levels and far.mpp == near.mpp and far.objective == near.objective
            np.testing.assert_array_equal(pixels(far, 0), pixels(near, 0))
            assert far.properties["dicom.Manufacturer"] == "Leica Biosystems"
        assert not [path for path, *_ in front.asked if "17.0/frames" in path]  # the thumbnail


def test_labels_and_overviews_are_never_asked_for_and_no_name_is_passed_on(front: tuple[str, Front]) -> None:
    with at(front[0]) as far:
        for level in range(3):
            seen = pixels(far, level)
            assert not [c for c in (MAGENTA, LIME) if (np.abs(seen.astype(int) - c).max(axis=-1) < 10).all()]
        assert {asked[0] for asked in frames(front[1])} == set("123")
        told = f"{far.properties}{far.warnings}{far.fingerprint}{far.reader_facts}{vars(far._source)}"
        assert not [word for word in PLANTED if word in told]
        assert far.properties == {
            "format": "dicomweb", "compression": "jpeg",
            "dicom.Manufacturer": "Drawn", "dicom.ManufacturerModelName": "By hand",
        }  # fmt: skip


def test_frames_that_are_touched_come_once_and_together(front: tuple[str, Front]) -> None:
    address, asked = front
    with at(address, frames=5) as far:
        assert frames(asked) == ["3/frames/1"]
        far.expect([(10, 10), (140, 10)], (70, 150), 0.25)  # tiles 0 and 1, 2 and 3 of the first level, in two rows
        before = len(asked.asked)
        far.read((10, 10), (70, 150), 0.25)
        far.read((140, 10), (70, 150), 0.25)
        assert len(asked.asked) == before
        assert sorted(frames(asked)[1:]) == ["1/frames/1,2,3,4,6", "1/frames/7,8,9"]
        assert far.transfer() == {"bytes": asked.sent, "requests": len(asked.asked)}
        assert far.file is None


def test_they_come_as_they_are_stored(front: tuple[str, Front], folder: Path) -> None:
    stored = (folder / "jpeg" / "1.dcm").read_bytes()
    with at(front[0]) as far:
        (data,) = far._source._frames.fetch([(f"{SERIES['jpeg']}.1", 7)])  # type: ignore[attr-defined]
    assert data.startswith(b"\xff\xd8") and data in stored
    accepted = [told["accept"] for told in front[1].headers if "octet" in told["accept"]]
    assert set(accepted) == {'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


@pytest.mark.parametrize("status", [400, 501])
def test_a_server_that_gives_one_frame_at_a_time_is_asked_so(
    front: tuple[str, Front], folder: Path, status: int
) -> None:
    address, asked = front
    asked.refuses = lambda path: status if "," in path else 0
    with at(address) as far, here(folder / "jpeg" / "1.dcm") as near:
        np.testing.assert_array_equal(pixels(far, 0), pixels(near, 0))
    assert len([path for path in frames(asked) if "," in path]) <= service.CONNECTIONS
    assert len(set(frames(asked))) == len(frames(asked))


def test_the_instances_of_a_concatenation_are_one_level(server: Server, folder: Path, tmp_path: Path) -> None:
    series = "1.2.826.0.1.3680043.9.20.3"
    parts = [instance(blocks(), 1 + i, series=series, part=part) for i, part in enumerate((slice(0, 7), slice(7, 20)))]
    server.store(save(parts, tmp_path / "parts"))
    with at(server.series(STUDY, series)) as far, here(folder / "jpeg" / "1.dcm") as near:
        assert len(far.levels) == 1
        np.testing.assert_array_equal(pixels(far, 0), pixels(near, 0))


def test_the_fingerprint_is_that_of_the_content_wherever_it_lies(
    server: Server, front: tuple[str, Front], tmp_path: Path
) -> None:
    with at(front[0]) as one, at(server.series(STUDY, SERIES["jpeg"])) as two, at(f"{front[0]}/?a=b") as three:
        assert one.fingerprint == two.fingerprint == three.fingerprint
        assert re.fullmatch("quickhash:[0-9a-f]{64}", one.fingerprint)
    series, found = "1.2.826.0.1.3680043.9.20.4", set()
    for color in (0, 90):  # other pixels under the same UIDs, as a careless tool leaves them
        server.store(save([instance(np.full((64, 64, 3), color, np.uint8), 1, series=series)], tmp_path / "same"))
        with at(server.series(STUDY, series)) as slide:
            found.add(slide.fingerprint)
    server.store(save([instance(BLANK, 2, series=f"{series}.1")], tmp_path / "other"))
    with at(server.series(STUDY, f"{series}.1")) as slide:
        found.add(slide.fingerprint)
    assert len(found) == 3


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (401, r"needs credentials \(401\)"),
        (403, r"may not read it, or have expired \(403\)"),
        (404, r"there is no such series \(404\)"),
        (410, r"its server refuses it \(410\)"),
        (429, r"busy or failed repeatedly \(429\)"),
        (503, r"busy or failed repeatedly \(503\)"),
    ],
)
def test_what_the_server_refuses_is_told_without_secrets(front: tuple[str, Front], status: int, why: str) -> None:
    address, asked = front
    asked.statuses = [status] * 9
    with pytest.raises(SlideError, match=why) as e:
        at(f"{address.replace('//', '//me:hunter2@')}?key=S3CRET")
    assert address in e.value.message and e.value.hint and e.value.__cause__ is None
    assert "S3CRET" not in str(e.value) and "hunter2" not in str(e.value)


@pytest.mark.parametrize("status", [404, 406])
def test_a_server_without_frames_is_told_when_the_slide_is_opened(front: tuple[str, Front], status: int) -> None:
    front[1].refuses = lambda path: status if "/frames/" in path else 0
    with pytest.raises(SlideError, match=rf"gives no frames as they are stored \({status}\)") as e:
        at(front[0])
    assert "copy the files" in e.value.hint


def test_no_server_and_one_of_another_kind_are_told(front: tuple[str, Front], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SlideError, match=r"http://127\.0\.0\.1:9/.*: its server does not answer"):
        at("http://127.0.0.1:9/studies/1.2/series/3.4")
    for says in (b"<html>a page</html>", b'"text"', b"[1]"):
        front[1].says = says
        with pytest.raises(SlideError, match="gave no DICOM JSON"):
            at(front[0])


def test_a_busy_server_is_waited_for_and_what_breaks_off_is_asked_for_again(
    front: tuple[str, Front], folder: Path
) -> None:
    address, asked = front
    asked.statuses = [503, (429, 1), 500]
    with at(address) as far, here(folder / "jpeg" / "1.dcm") as near:
        asked.statuses, asked.cuts = [429, 503], 2
        np.testing.assert_array_equal(pixels(far, 0), pixels(near, 0))
        assert (facts := far.transfer()) is not None and facts["bytes"] == asked.sent
        asked.cuts = 99
        with pytest.raises(SlideError, match="its server does not answer"):
            pixels(far, 1)


def test_credentials_go_along_with_every_request(front: tuple[str, Front], tmp_path: Path) -> None:
    address, asked = front
    with at(f"{address.replace('//', '//me:hunter%212@')}?key=S3CRET") as far:
        pixels(far, 0)
    assert {told["authorization"] for told in asked.headers} == {"Basic bWU6aHVudGVyITI="}
    assert all(path.endswith("?key=S3CRET") for path, *_ in asked.asked)
    host = address.split("/")[2]
    assert {told["host"] for told in asked.headers} == {host}
    tokens = tmp_path / "tokens.toml"
    for line, sent in ((f'"{host}" = "first"', "Bearer first"), ('"other.org" = "second"', None)):
        tokens.write_text(line)
        tokens.chmod(0o600)
        with at(address, tokens=tokens):
            assert asked.headers[-1].get("authorization") == sent
    for content, mode, why in ((line, 0o644, "others can read it"), ("{", 0o600, "not TOML"), ("", None, "cannot be")):
        tokens.unlink(missing_ok=True)
        if mode is not None:
            tokens.write_text(content)
            tokens.chmod(mode)
        with pytest.raises(ConfigError, match=why):
            at(address, tokens=tokens)


def test_a_series_that_is_no_slide_is_told_by_its_kind(server: Server, tmp_path: Path) -> None:
    series = "1.2.826.0.1.3680043.9.20.5"
    label = instance(BLANK, 1, series=f"{series}.2", flavor="LABEL")
    server.store(save([other_kind(f"{series}.1"), label], tmp_path / "made"))
    with pytest.raises(
        ContentError, match="not a series of whole-slide images .it has Secondary Capture Image Storage"
    ):
        at(server.series(STUDY, f"{series}.1"))
    with pytest.raises(ContentError, match="contains only labels, overviews or thumbnails"):
        at(server.series(STUDY, f"{series}.2"))
    with pytest.raises(SlideError, match=r"there is no such series \(404\)"):
        at(server.series(STUDY, f"{series}.3"))
    unknown = [Header({"00080016": {"vr": "UI", "Value": ["Zwetschgenbaum"]}})]
    with pytest.raises(ContentError, match="it has something unknown"):
        volumes(unknown, URL)


def test_it_keeps_the_contract_of_readers(server: Server, tmp_path: Path) -> None:
    series, picture = "1.2.826.0.1.3680043.9.20.6", blocks()
    server.store(save(pyramid([picture, picture[::2, ::2]], series, codec="none"), tmp_path / "whole"))
    sample = (server.series(STUDY, series), picture)
    (*_, candidate) = candidates(kras_reader_dicomweb, Given(samples={"reader:dicomweb": [sample]}))
    outcomes = {check.name: run_check(check, candidate) for check in checks_of(candidate)}
    assert [o.message for o in outcomes.values() if o.status == "failed"] == []
    passed = {name for name, o in outcomes.items() if o.status == "passed"}
    assert passed >= {"opens", "reference_pixels", "regions_agree", "many_threads", "no_identifiers", "closes_twice"}


URL = Url("https://host/studies/1/series/2")


def headers(*made: object) -> list[Header]:
    return [Header(ds.to_json_dict(bulk_data_threshold=1, bulk_data_element_handler=lambda _: "")) for ds in made]  # type: ignore[attr-defined]


def changed(change: Callable[[object], None], **own: object) -> list[Header]:
    """The header of a small slide after a change."""
    ds = instance(blocks(), 1, series="1.2", **own)  # type: ignore[arg-type]
    change(ds)
    return headers(ds)


@pytest.mark.parametrize(
    ("own", "change", "why"),
    [
        ({}, {"NumberOfFrames": 40}, "40 frames for 20 tiles: focal planes or optical paths"),
        ({}, {"NumberOfFrames": 2**31 - 1}, "frames for 20 tiles"),
        ({}, {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}, "1 x 8 bit MONOCHROME2, not 8-bit"),
        ({}, {"BitsAllocated": 16}, "3 x 16 bit"),
        ({}, {"PhotometricInterpretation": "PALETTE COLOR"}, "not 8-bit color"),
    ],
    ids=["planes", "hostile count", "gray", "deep", "palette"],
)
def test_what_is_not_one_slide_in_color_is_refused(own: dict[str, object], change: dict[str, object], why: str) -> None:
    def apply(ds: object) -> None:
        for name, value in change.items():
            setattr(ds, name, value)

    with pytest.raises(ContentError, match=why):
        levels_of(volumes(changed(apply, **own), URL), URL)


def test_frames_in_one_place_and_levels_of_another_shape_are_refused() -> None:
    twice = headers(*(instance(blocks(), n, series="1.2") for n in (1, 2)))
    with pytest.raises(ContentError, match="several frames in one place: focal planes"):
        levels_of(twice, URL)
    square = headers(instance(blocks(), 1, series="1.2"), instance(blocks()[:, :100], 2, series="1.2"))
    with pytest.raises(ContentError, match="300 x 200, 100 x 200 pixels. are not levels of one slide"):
        levels_of(square, URL)
    other = headers(instance(blocks(), 1, series="1.2"), instance(blocks(), 2, series="1.2", tile=32))
    with pytest.raises(ContentError, match="are not levels of one slide"):
        levels_of(other, URL)


@pytest.mark.parametrize(
    ("tag", "value", "why"),
    [
        ("00280010", [1 << 31], "states 300 x 200 pixels in tiles of 64 x 2147483648"),
        ("00280010", [0], "in tiles of 64 x 0"),
        ("00280010", ["Zwetschgenbaum"], "Rows is not a number"),
        ("00280010", "7", "is not a list of values"),
        ("00480006", [-1], "TotalPixelMatrixColumns is -1"),
        ("00480006", [], "TotalPixelMatrixColumns is not stated"),
        ("00280008", [float("inf")], "NumberOfFrames is not a number"),
        ("00280008", [3], "3 frames with 20 positions"),
        ("00080018", ["../../1.2"], "an instance without UID"),
    ],
    ids=["huge", "empty", "text", "no list", "negative", "absent", "infinite", "count", "path"],
)
def test_headers_that_make_no_sense_are_errors_without_their_text(tag: str, value: object, why: str) -> None:
    (header,) = headers(instance(blocks(), 1, series="1.2", sparse=True))
    wrong = Header({**header.attributes, tag: {"vr": "UL", "Value": value}})
    with pytest.raises((SlideError, ValueError, TypeError), match=why) as e:
        levels_of([wrong], URL)
    assert "Zwetschgenbaum" not in str(e.value)


def test_it_closes_twice_and_is_read_no_more(server: Server) -> None:
    slide = at(server.series(STUDY, SERIES["none"]))
    slide.close()
    slide._source.close()
    with pytest.raises(SlideError, match="was closed"):
        slide._source.read_level(0, (0, 0), (10, 10))


def test_without_its_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dicomweb_client", None)
    with pytest.raises(ConfigError, match="no installed library reads DICOMweb") as e:
        at(URL.text)
    assert "kras[dicomweb]" in e.value.hint


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("https://host/dicom-web/studies/1.2/series/3.4", True),
        ("http://127.0.0.1:8042/studies/1.2/series/3.4/?key=1", True),
        ("https://me:secret@host/a/b/studies/1.2/series/3.4", True),
        ("https://host/dicom-web/studies/1.2", False),
        ("https://host/studies/1.2/series/3.4/instances/5.6", False),
        ("https://host/studies/1.2/series/slide.svs", False),
        ("s3://bucket/studies/1.2/series/3.4", False),
    ],
)
def test_an_address_is_known_by_its_path(address: str, asked: bool) -> None:
    assert PLUGIN.asks(Url(address)) == asked


def test_files_are_no_matter_of_it(folder: Path) -> None:
    readers = [UsableReader(PLUGIN, DicomWebOptions())]
    with pytest.raises(SlideError, match="opens addresses, not files"):
        open_slide(SlideRef(patient_id="p", slide_id="s", path=folder / "jpeg" / "1.dcm"), readers, "dicomweb")
    with pytest.raises(SlideError, match="opens addresses, not files"):
        open_slide(SlideRef(patient_id="p", slide_id="s", url=Url("https://h/a.svs")), readers, "dicomweb")
