"""The entry `importance` of metrics.json: for each member on features, what its models lose if these are shuffled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.data import SemanticProfile
from kras_plugins.evaluation.importance import importance
from kras_plugins.learning.inputs import conform
from kras_plugins.learning.shuffled import Scored, fold_models, frozen_models

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Sample
    from kras_plugins.evaluation.evaluated import Evaluated
    from kras_plugins.learning.bundle import Bundle
    from kras_plugins.learning.experiment import Experiment

_OF_TILES = "uses tiles, which have no names, so permuting them among patients would say nothing"


def trained_importance(
    experiment: Experiment, evaluated: Evaluated, samples: Sequence[Sample], seed: int
) -> dict[str, Any]:
    """Importance in a training: for the first repeat's outer models, each on the in-scope patients of its test fold."""
    here = np.flatnonzero(evaluated.complete)
    models = {m.name: fold_models(experiment, m, here) for m in experiment.members if _on_features(m.plugin.consumes)}
    return _of_all([m.name for m in experiment.members], models, samples, evaluated.labels, seed)


def frozen_importance(bundle: Bundle, evaluated: Evaluated, samples: Sequence[Sample]) -> dict[str, Any]:
    """Importance for a bundle on another cohort: the mean over its fold models, on the patients in scope."""
    here = np.flatnonzero(evaluated.complete)
    models = {m.name: frozen_models(bundle, m, here) for m in bundle.members if _on_features(m.consumes)}
    return _of_all([m.name for m in bundle.members], models, conform(samples, bundle.inputs), evaluated.labels, seed=0)


def _of_all(
    names: Sequence[str],
    models: Mapping[str, Sequence[Scored]],
    samples: Sequence[Sample],
    labels: npt.NDArray[np.int8],
    seed: int,
) -> dict[str, Any]:
    of_tiles = {"groups": [], "features": [], "note": _OF_TILES}
    return {n: importance(models[n], samples, labels, seed) if n in models else of_tiles for n in names}


def _on_features(consumes: type) -> bool:
    return consumes is SemanticProfile
