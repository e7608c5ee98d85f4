"""Calls into classifier plug-ins: what they raise becomes a PluginError with its cause, and so do wrong scores."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.contracts.classifier import Classifier
from kras_plugins.data import Sample
from kras_plugins.errors import KrasError, PluginError

if TYPE_CHECKING:
    from kras_plugins.data import Float64


_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


@contextmanager
def plugin_call(name: str, doing: str) -> Iterator[None]:
    """Whatever a plug-in raises inside leaves as PluginError; KrasErrors pass, and so do a full or read-only disk."""
    try:
        yield
    except KrasError:
        raise
    except Exception as e:
        if isinstance(e, OSError) and e.errno in _DISK:
            raise
        raise PluginError(
            f"classifier {name} failed {doing}: {type(e).__name__}: {e}",
            f"try `kras plugin check classifier:{name}`, or leave it out with --classifiers",
        ) from e


def predict(name: str, classifier: Classifier, samples: Sequence[Sample], doing: str) -> Float64:
    """Raw scores float64[sample]; raises PluginError unless there is one finite score a sample."""
    if not samples:
        return np.zeros(0)
    with plugin_call(name, doing):
        scores = np.asarray(classifier.predict(samples), np.float64)
    if scores.shape != (len(samples),) or not np.isfinite(scores).all():
        raise PluginError(
            f"classifier {name} gave scores of shape {scores.shape} for {len(samples)} patients, "
            f"{int((~np.isfinite(scores)).sum())} of them not finite, {doing}",
            "predict must return one finite number a sample",
        )
    return scores
