"""All checks there are, in the order in which they are run and told."""

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
from kras_plugins.testing.checks.rule import Check
from kras_plugins.testing.checks.subject import Subject

_MODULES = (record, networks, tiles, extractor, profiler, loaders, classifier, reader, backend)

CHECKS: tuple[Check, ...] = tuple(c for m in _MODULES for c in vars(m).values() if isinstance(c, Check))


def checks_of(subject: Subject) -> list[Check]:
    """The checks that are asked of a subject."""
    return [c for c in CHECKS if not subject.kinds.isdisjoint(c.kinds)]
