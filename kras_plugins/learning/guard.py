"""Calls into classifier plug-ins: what they raise becomes a PluginError with its cause, and so do wrong scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from kras_plugins.contracts.classifier import Classifier
from kras_plugins.data import Sample
from kras_plugins.errors import NO_ROOM, PluginError
from kras_plugins.host.isolation import allowed, ask_about

if TYPE_CHECKING:
    from kras_plugins.data import Float64

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Called:
    """A classifier in error messages: its name here, its plug-in, and that plug-in's distribution or file, if known."""

    name: str
    plugin: str
    origin: str = ""

    def __str__(self) -> str:
        return f"classifier {self.name} of {self.origin}" if self.origin else f"classifier {self.name}"


def call(who: Called, doing: str, function: Callable[[], R], patients: int = 1) -> R:
    """The result of `function`, which calls a classifier; PluginError if that raises or hangs.

    KrasErrors pass through, and so do errors of a full or read-only disk. The deadline applies to each patient.
    """
    try:
        return ask_about(str(who), doing, allowed(patients), function)
    except PluginError as e:
        cause = e.__cause__
        if cause is None:
            raise
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            raise cause from None
        check = f"try `kras plugin check classifier:{who.plugin}`, or leave it out with --classifiers"
        raise PluginError(e.message, check) from cause


def predict(who: Called, classifier: Classifier, samples: Sequence[Sample], doing: str) -> Float64:
    """Raw scores float64[sample]; raises PluginError unless there is one finite score a sample."""
    if not samples:
        return np.zeros(0)
    scores = call(who, doing, lambda: np.asarray(classifier.predict(samples), np.float64), len(samples))
    if scores.shape != (len(samples),) or not np.isfinite(scores).all():
        raise PluginError(
            f"{who} gave scores of shape {scores.shape} for {len(samples)} patients, "
            f"{int((~np.isfinite(scores)).sum())} of them not finite, {doing}",
            "predict must return one finite number per sample",
        )
    return scores
