"""What a kind of input is, what was changed in one, and what may come of it."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Must(enum.Enum):
    """What a change must lead to where that is no value; a clear error is right as well, whatever was changed."""

    SAME = "the result of the sound input"
    REFUSED = "a clear error"
    ANYTHING = "any result: nothing in the input says that it was changed"


@dataclass(frozen=True)
class Change:
    """`what` was done, in words, and the result that this `must` lead to: a JSON value or one of `Must`."""

    what: str
    must: Any


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of input.

    `warm`: modules that are imported once. `make(folder)` writes a sound input; `change(folder, rng, sound)` changes a
    copy of it in place, where `sound` is what `read` gave of the sound one; `read(folder)` gives what the product makes
    of it as JSON values. `named`: of these an error must name one. `memory`: bytes that a trial may take beyond what
    its process has at the beginning. `few`: cases of it that `make test` tries.
    """

    name: str
    make: Callable[[Path], None]
    change: Callable[[Path, random.Random, Any], Change]
    read: Callable[[Path], Any]
    named: tuple[str, ...]
    warm: tuple[str, ...] = ()
    memory: int = 1 << 30
    few: int = 6


def of_bytes(content: bytes, rng: random.Random, start: int = 0) -> tuple[str, bytes]:
    """Bytes from `start` on with a bit turned, some overwritten, lost or doubled; and what was done."""
    at = rng.randrange(min(start, len(content) - 1), len(content))
    end = min(len(content), at + rng.choice([1, 4, 64]))
    match rng.randrange(4):
        case 0:
            bit = rng.randrange(8)
            return f"bit {bit} of byte {at} turned", _put(content, at, at + 1, bytes([content[at] ^ (1 << bit)]))
        case 1:
            return f"bytes {at} to {end} overwritten", _put(content, at, end, rng.randbytes(end - at))
        case 2:
            return f"bytes {at} to {end} lost", _put(content, at, end, b"")
        case _:
            return f"bytes {at} to {end} doubled", _put(content, at, at, content[at:end])


def damage(file: Path, rng: random.Random, start: int = 0) -> Change:
    """Change bytes of a file whose format has no checksum: what still decodes may be anything."""
    what, content = of_bytes(file.read_bytes(), rng, start)
    file.write_bytes(content)
    return Change(what, Must.ANYTHING)


def cut(file: Path, rng: random.Random, must: Any = Must.SAME) -> Change:
    """Truncate a file: it is refused, or was read without its end."""
    content = file.read_bytes()
    at = rng.randrange(len(content))
    file.write_bytes(content[:at])
    return Change(f"cut off at byte {at} of {len(content)}", must)


def pick(rng: random.Random, ways: Sequence[tuple[int, Callable[[], Change]]]) -> Change:
    """One of several ways to change an input, by their weights."""
    (way,) = rng.choices([way for _, way in ways], [weight for weight, _ in ways])
    return way()


def _put(content: bytes, at: int, end: int, new: bytes) -> bytes:
    return content[:at] + new + content[end:]
