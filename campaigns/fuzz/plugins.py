"""What an installed plug-in says of itself: metadata, entry points, its record; nobody else may suffer from it."""

from __future__ import annotations

import random
import sys
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Kind, Must, of_bytes, pick

CODE = """
from kras_plugins import ExtractorPlugin, TileSpec, hookimpl

KRAS_API = 1


@hookimpl
def kras_extractors():
    yield ExtractorPlugin(
        name="mine", summary="mean color", tile=lambda o: TileSpec(px=32, mpp=1.0), dim=lambda o: 3,
        create=lambda options, infer: lambda tiles: tiles.mean((1, 2)).astype("float32"),
    )
"""
INFO = "kras_mine-1.2.dist-info"


def _make(folder: Path) -> None:
    from bad_plugin import installed

    installed(folder / "site", "kras-mine", CODE, "kras>=0.1", "numpy")


def _read(folder: Path) -> Any:
    from kras_plugins.errors import KrasError
    from kras_plugins.host.manager import discover

    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder / "site"))
    invalidate_caches()
    registry = discover(seconds=20)
    own = [f"{p.kind}:{p.record.name}" for p in registry.provided if p.distribution != "kras"]
    others = [f"{p.kind}:{p.record.name}" for p in registry.provided if p.distribution == "kras"]
    blamed = [b.plugin for b in registry.broken if b.distribution == "kras"]
    mine = [b for b in registry.broken if b.distribution != "kras"]
    if mine and not blamed:  # what `kras plugin list` shows
        raise KrasError(f"{mine[0].plugin} of {mine[0].distribution} is broken: {mine[0].cause}", "mend or remove it")
    return {"own": own, "others": others, "blamed": blamed}


def _change(folder: Path, rng: random.Random, sound: Any) -> Change:
    site = folder / "site"
    code, meta, points = site / "kras_mine.py", site / INFO / "METADATA", site / INFO / "entry_points.txt"

    def swap(file: Path, old: str, new: str, must: Any) -> Change:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        return Change(f"{file.name}: {old!r} is {new[:60]!r}", must)

    def in_code() -> Change:
        old, new, must = rng.choice([
            ('name="mine"', 'name="other"', {**sound, "own": ["extractor:other"]}),
            ('name="mine"', "name=3", Must.REFUSED),
            ('name="mine"', 'name=""', Must.REFUSED),
            ('name="mine"', 'name="a b\\x1b[31m"', Must.REFUSED),
            ('name="mine"', 'name="vit"', {**sound, "own": ["extractor:vit"]}),
            ("KRAS_API = 1", "KRAS_API = 2", Must.REFUSED),
            ("KRAS_API = 1", "KRAS_API = '1'", Must.REFUSED),
            ("KRAS_API = 1", "", Must.SAME),
            ("KRAS_API = 1", "raise SystemExit(3)", Must.REFUSED),
            ("KRAS_API = 1", "raise KeyboardInterrupt", Must.REFUSED),
            ("KRAS_API = 1", "import gone", Must.REFUSED),
            ("KRAS_API = 1", "import os; os.chdir('/'); import logging; logging.disable()", Must.SAME),
            ("KRAS_API = 1", "import sys; sys.stdout = None", Must.SAME),
            ("def kras_extractors", "def kras_extractor", Must.REFUSED),
            ("@hookimpl", "", Must.REFUSED),
            ("    yield ", "    return ", Must.REFUSED),
            ("    yield ", "    yield 3\n    yield ", Must.REFUSED),
            ('summary="mean color", ', "", Must.REFUSED),
            ("create=", "creates=", Must.REFUSED),
            ("TileSpec, hookimpl", "TileSpec, gone, hookimpl", Must.REFUSED),
        ])  # fmt: skip
        return swap(code, old, new, must)

    def in_metadata() -> Change:
        old, new, must = rng.choice([
            ("kras>=0.1", "kras>=9", Must.REFUSED),
            ("kras>=0.1", "kras>=0.0.1,<99", Must.SAME),
            ("kras>=0.1", "kras >== 3 ((", Must.SAME),
            ("kras>=0.1", 'kras>=9; extra == "dev"', Must.SAME),
            ("kras>=0.1", 'kras>=9; python_version > "3"', Must.REFUSED),
            ("kras>=0.1", 'kras>=9; os_name = "', Must.SAME),
            ("Version: 1.2\n", "", Must.SAME),
            ("Version: 1.2\n", "Version: \n", Must.SAME),
            ("Name: kras-mine\n", "", Must.SAME),
            ("Name: kras-mine\n", "Name: \n", Must.SAME),
            ("Name: kras-mine\n", "Name: a\x1b[31mb\n", Must.SAME),
            ("Metadata-Version: 2.1\n", "", Must.SAME),
        ])  # fmt: skip
        return swap(meta, old, new, must)

    def in_entry_points() -> Change:
        gone = {**sound, "own": []}
        old, new, must = rng.choice([
            ("[kras]", "[krass]", gone),
            ("[kras]\n", "", gone),
            ("= kras_mine", "= kras_gone", Must.REFUSED),
            ("= kras_mine", "= kras_mine:gone", Must.REFUSED),
            ("= kras_mine", "= kras_mine.deep", Must.REFUSED),
            ("= kras_mine", "=", Must.REFUSED),
            ("= kras_mine", "= 3 + 4", Must.REFUSED),
            ("= kras_mine", "= ..kras_mine", Must.REFUSED),
            ("= kras_mine", "= kras_mine [extra]", Must.SAME),
            ("= kras_mine", "", Must.REFUSED),
            ("kras_mine = kras_mine", "kras_mine = kras_mine\nkras_mine = kras_mine", Must.SAME),
            ("kras_mine = kras_mine", "mine twice = kras_mine", Must.SAME),
            ("kras_mine = kras_mine", "# nothing", gone),
        ])  # fmt: skip
        return swap(points, old, new, must)

    def gone() -> Change:
        file = rng.choice([code, meta, points])
        file.unlink()
        must = {code: Must.REFUSED, meta: Must.SAME, points: {**sound, "own": []}}[file]
        return Change(f"no {file.name}", must)

    def damaged() -> Change:
        file = rng.choice([code, meta, points])
        what, content = of_bytes(file.read_bytes(), rng)
        file.write_bytes(content)
        return Change(f"{file.name}: {what}", Must.ANYTHING)

    return pick(rng, [(4, in_code), (4, in_metadata), (4, in_entry_points), (1, gone), (6, damaged)])


KINDS = [
    Kind(
        name="plug-in", make=_make, change=_change, read=_read, named=("kras",),
        warm=("kras_plugins.host.manager", "bad_plugin"),
    )
]  # fmt: skip
