"""Slides in DICOM."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Kind, Must, cut, damage, pick
from campaigns.fuzz.slides import WARM, draw, seen


def _make_dicom(folder: Path) -> None:
    from dicom_slides import instance, save

    save([instance(draw(128), 1, series="1.2.826.0.1.3680043.9.20.5", spacing=(0.0005, 0.0005))], folder)


def _change_dicom(folder: Path, rng: random.Random, sound: Any) -> Change:
    import pydicom
    from pydicom.encaps import encapsulate, generate_frames

    file = folder / "1.dcm"
    ds = pydicom.dcmread(file)

    def say(what: str, must: Any) -> Change:
        ds.save_as(file, enforce_file_format=True)
        return Change(what, must)

    def spacing() -> Change:
        rows, columns = rng.choice([(0.00025, 0.00025), (0.0005, 0.00025), (0.001, 0.002)])
        ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [rows, columns]
        return say(f"spacing {rows}, {columns} mm", {**sound, "mpp": [columns * 1000, rows * 1000]})

    def no_spacing() -> Change:
        del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
        return say("no spacing", {**sound, "mpp": [0.5, 0.5], "source": "objective"})

    def exchanged() -> Change:
        frames = list(generate_frames(ds.PixelData, number_of_frames=4))
        i, j = rng.sample(range(4), 2)
        frames[i], frames[j] = frames[j], frames[i]
        ds.PixelData = encapsulate(frames)
        tiles = list(sound["tiles"])
        tiles[i], tiles[j] = tiles[j], tiles[i]
        return say(f"frames {i} and {j} exchanged", {**sound, "tiles": tiles})

    def fewer() -> Change:
        frames = list(generate_frames(ds.PixelData, number_of_frames=4))
        ds.PixelData = encapsulate(frames[: rng.randrange(1, 4)])
        return say("frames left out", Must.REFUSED)

    def dropped() -> Change:
        element = rng.choice([e for e in ds if e.keyword != "PixelData"])
        del ds[element.tag]
        must: Any = Must.SAME
        if element.keyword == "SharedFunctionalGroupsSequence":
            must = {**sound, "mpp": [0.5, 0.5], "source": "objective"}
        return say(f"{element.keyword} left out", must)

    def number() -> Change:
        keyword, value = rng.choice(
            [
                ("NumberOfFrames", 3),
                ("NumberOfFrames", 5),
                ("NumberOfFrames", 0),
                ("Rows", 32),
                ("Columns", 63),
                ("Rows", 0),
                ("TotalPixelMatrixColumns", 1280),
                ("TotalPixelMatrixRows", 2**31),
                ("TotalPixelMatrixRows", 0),
                ("SamplesPerPixel", 1),
                ("BitsAllocated", 16),
                ("BitsStored", 12),
            ]
        )
        setattr(ds, keyword, value)
        return say(f"{keyword} is {value}", Must.SAME)

    def other_kind() -> Change:
        keyword, value = rng.choice(
            [
                ("ImageType", ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]),
                ("ImageType", ["DERIVED", "PRIMARY", "THUMBNAIL", "RESAMPLED"]),
                ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"),
                ("DimensionOrganizationType", "TILED_SPARSE"),
                ("Modality", "CT"),
            ]
        )
        setattr(ds, keyword, value)
        if keyword == "SOPClassUID":
            ds.file_meta.MediaStorageSOPClassUID = value
        return say(f"{keyword} is {value}", Must.SAME)

    def syntax() -> Change:
        ds.file_meta.TransferSyntaxUID = rng.choice(
            ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.80"]
        )
        return say(f"transfer syntax {ds.file_meta.TransferSyntaxUID}", Must.SAME)

    return pick(
        rng,
        [
            *((2, way) for way in (spacing, no_spacing, exchanged, fewer, other_kind, syntax)),
            (4, dropped),
            (4, number),
            (3, lambda: cut(file, rng)),
            (4, lambda: damage(file, rng)),
            (2, lambda: damage(file, rng, start=file.stat().st_size // 2)),
        ],
    )


KINDS = [
    Kind(
        name="dicom",
        make=_make_dicom,
        change=_change_dicom,
        read=lambda f: seen(f, "1.dcm"),
        named=("1.dcm",),
        warm=(*WARM, "pydicom"),
    ),
]
