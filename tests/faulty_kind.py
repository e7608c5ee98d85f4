"""A kind of input whose reader has every fault that a campaign looks for; prints what the campaign found of each."""

from __future__ import annotations

import ctypes
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from campaigns.fuzz import server
from campaigns.fuzz.kind import Change, Kind, Must
from kras_plugins.errors import ConfigError, as_kras_error

WAYS = (
    "refused", "same", "expected", "undetectable", "silent", "unclear", "blamed", "traceback", "hang", "signal",
    "memory",
)  # fmt: skip


def make(folder: Path) -> None:
    (folder / "input.txt").write_text("sound")


def change(folder: Path, rng: random.Random, sound: Any) -> Change:
    way = TRIED[0]
    (folder / "input.txt").write_text(way)
    return Change(way, {"expected": "expected", "undetectable": Must.ANYTHING}.get(way, Must.SAME))


def read(folder: Path) -> Any:
    if (folder / "read.txt").exists():
        raise ConfigError("input.txt: was read before", "give each case a copy that nobody has read")
    (folder / "read.txt").touch()
    match (folder / "input.txt").read_text():
        case "refused":
            raise ConfigError("input.txt: is damaged", "copy it again")
        case "unclear":
            raise ConfigError("something is wrong")
        case "blamed":
            raise as_kras_error("reader 'tiff' of kras", ValueError("a bad byte"), "on input.txt")
        case "traceback":
            return {}["gone"]
        case "hang":
            while True:
                pass
        case "signal":
            ctypes.string_at(0)
        case "memory":
            return len(bytearray(1 << 31))
        case "same":
            return "sound"
        case text:
            return text


TRIED = [""]
"""What the case is to do."""

if __name__ == "__main__":
    server.CPU_SECONDS = 1
    found = {}
    for way in WAYS:
        TRIED[0] = way
        with tempfile.TemporaryDirectory() as scratch:
            kind = Kind(name="faulty", make=make, change=change, read=read, named=("input.txt",))
            (outcome,) = server.campaign(kind, [0], 0, Path(scratch))
            found[way] = outcome.outcome
    print(json.dumps(found))
