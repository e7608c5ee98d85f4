"""What a check is: one thing that a real run relies on, the line of the contract that requires it, and how it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kras_plugins.errors import KrasError
from kras_plugins.testing.checks.candidate import Candidate
from kras_plugins.testing.checks.outcome import Failed, NotApplicable, told


@dataclass(frozen=True, kw_only=True)
class Check:
    """One rule. `kinds`: the records it applies to (see `Candidate.kinds`), or MODULE.

    `what`: the rule in a sentence. `file` (below kras_plugins) and `words` in it: the line of the contract that
    requires it. `run(candidate)` raises Failed or NotApplicable; any other exception that leaves it is a failure, too.
    """

    name: str
    kinds: tuple[str, ...]
    what: str
    file: str
    words: str
    run: Callable[[Candidate], None]

    @property
    def says(self) -> str:
        """The line that requires it, as reported."""
        return f'kras_plugins/{self.file}: "{self.words}"'


def check(*kinds: str, file: str, words: str) -> Callable[[Callable[[Candidate], None]], Check]:
    """Make a Check from a function: its name is the check's, the first line of its docstring is the rule."""

    def made(run: Callable[[Candidate], None]) -> Check:
        what = (run.__doc__ or "").strip().splitlines()[0]
        return Check(name=run.__name__, kinds=kinds, what=what, file=file, words=words, run=run)

    return made


def require(holds: bool, expected: str, came: object) -> None:
    """Raise Failed unless `holds`."""
    if not holds:
        raise Failed(expected, str(came))


@contextmanager
def refused(what: str, *kinds: type[Exception], came: Callable[[], object] = lambda: "no error") -> Iterator[None]:
    """Expect the body to raise one of `kinds` (KrasError and ValueError if none) with a message; else raise Failed.

    `came` says what came instead if nothing was raised.
    """
    kinds = kinds or (KrasError, ValueError)
    names = " or ".join(kind.__name__ for kind in kinds)
    try:
        yield
    except kinds as e:
        if not str(e).strip():
            raise Failed(f"{names} that says what is wrong, for {what}", f"{type(e).__name__} without a message") from e
    except (Failed, NotApplicable):
        raise
    except Exception as e:
        raise Failed(f"{names} for {what}", told(e)) from e
    else:
        raise Failed(f"{names} for {what}", str(came()))


def same(a: Any, b: Any, tolerance: float = 0.0) -> bool:
    """Whether arrays have the same shape and dtype, and values that differ by at most `tolerance` of the largest."""
    import numpy as np

    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not tolerance or not np.issubdtype(a.dtype, np.floating):
        return bool(np.array_equal(a, b, equal_nan=np.issubdtype(a.dtype, np.floating)))
    scale = max(float(np.abs(b).max(initial=0)), 1e-6)
    return bool(np.abs(a.astype(np.float64) - b).max(initial=0) <= tolerance * scale)


def unlike(a: Any, b: Any) -> str:
    """How two arrays differ, in words."""
    import numpy as np

    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{shown(a)} and {shown(b)}"
    apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return f"values that differ by up to {np.nanmax(apart):.3g} (largest value {np.nanmax(np.abs(b)):.3g})"


def shown(array: Any) -> str:
    """dtype and shape of an array, or the type of anything else."""
    if hasattr(array, "dtype") and hasattr(array, "shape"):
        return f"{array.dtype}{list(array.shape)}"
    return type(array).__name__
