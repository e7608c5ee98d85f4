"""All checks, in the order in which they are run and reported."""

from __future__ import annotations

from kras_plugins.testing.checks import (
    backend,
    classifier,
    extractor,
    loaders,
    networks,
    profiler,
    reader,
    record,
    tiles,
)
from kras_plugins.testing.checks.candidate import Candidate
from kras_plugins.testing.checks.rule import Check

_MODULES = (record, networks, tiles, extractor, profiler, loaders, classifier, reader, backend)

CHECKS: tuple[Check, ...] = tuple(c for m in _MODULES for c in vars(m).values() if isinstance(c, Check))


def checks_of(candidate: Candidate) -> list[Check]:
    """The checks that apply to a candidate."""
    return [c for c in CHECKS if not candidate.kinds.isdisjoint(c.kinds)]
