"""What a classifier must provide: fit on patients, score patients, explain scores, save without pickle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kras_plugins.contracts.base import PluginRecord
from kras_plugins.data import Bag, Explanation, Sample, SemanticProfile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kras_plugins.data import Float32


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Patients with labels, cut by the host: with one sample, one label and one group (site, or patient) each.

    `labels`: int8[sample] of 0 and 1.
    """

    samples: Sequence[Sample]
    labels: npt.NDArray[np.int8]
    groups: Sequence[str]

    def __len__(self) -> int:
        return len(self.samples)


class Classifier(Protocol):
    """A model of one kind. The host never shows it a patient of the outer test fold before it is fitted.

    A classifier that uses only some of a patient's tiles may state how many in an attribute `most_tiles: int`, None for
    all; studies note which patients that affects.
    """

    def fit(self, train: Cohort, valid: Cohort) -> None:
        """Fit on `train`; `valid` may serve early stopping and choices, or be learned from if nothing needs it.

        The host calibrates on patients of neither part.
        """
        ...

    def predict(self, samples: Sequence[Sample]) -> Float32:
        """Raw scores float32[sample], higher for the positive class, on any scale; the host calibrates them."""
        ...

    def explain(self, sample: Sample) -> Explanation:
        """Which tiles or features the score of one sample comes from."""
        ...

    def save(self, folder: Path) -> None:
        """Write the fitted model into an existing empty folder: safetensors, ONNX, text or JSON; no pickle."""
        ...


@dataclass(frozen=True, kw_only=True)
class ClassifierPlugin(PluginRecord):
    """`consumes`: what a sample must have. `create(options, seed)` gives an unfitted, `load(folder)` a saved one.

    `baseline`: a plain model, which studies show as NAME_only with all classifiers that consume the same; it joins the
    ensemble only if it is named among the classifiers.

    In a study of several extractors there is a model for each extractor, which gets only the bags of that one.
    """

    consumes: type[Bag] | type[SemanticProfile]
    create: Callable[[Any, int], Classifier]
    load: Callable[[Path], Classifier]
    baseline: bool = False
