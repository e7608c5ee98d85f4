"""Why a study's patient got the score: explained on request, by models that never saw the patient."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.bags import read_bag
from kras_plugins.data import Bag, Sample, split_extractor
from kras_plugins.errors import ConfigError, StoreError
from kras_plugins.processing.embedding import BAG
from kras_plugins.report.case import case_name
from kras_plugins.report.case_json import ENDING, read_case
from kras_plugins.report.heatmap import read_tiles_geojson
from kras_plugins.store import safe_name
from kras_plugins.viewer.results import AGAIN

if TYPE_CHECKING:
    from kras_plugins.data import Explanation, Float64, Int32
    from kras_plugins.learning.bundle import Bundle
    from kras_plugins.store import Store
    from kras_plugins.study.session import Session
    from kras_plugins.viewer.results import Recorded, Result

NOT_ASSESSABLE = "not_assessable"


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Values of tiles by name at `xy` int32[tile 2], level-0 px, of `size`; `source`: a sentence about the models.

    `withheld`: why contributions are not shown for a patient who is not assessable.
    """

    xy: Int32
    size: tuple[float, float]
    values: Mapping[str, Float64]
    source: str
    member: str = "he"
    withheld: str = ""


def explained_member(result: Result, slide: Recorded) -> str:
    """The member whose tiles `predict` wrote for a slide's patient; `he` if the patient's case is missing."""
    try:
        tiles = read_case(result.folder / f"{case_name(slide.patient_id)}{ENDING}").tiles
    except StoreError:
        tiles = None
    return "he" if tiles is None else tiles.member


def bag_of_study(slide: Recorded) -> str:
    """The kind of artifact whose tiles are explained: of several extractors' bags, the first that is stored."""
    return next((kind for kind in slide.artifacts if split_extractor(kind)[0] == "bag"), "bag")


def of_result(result: Result, slide: Recorded, member: str) -> Explained:
    """What `predict` wrote for `member`. Raises StoreError if it wrote nothing."""
    file = result.folder / f"{safe_name(slide.slide_id)}.attention.geojson"
    if not file.is_file():
        raise StoreError("no model of the bundle looks at tiles, or its file is gone", AGAIN)
    xy, size, values = read_tiles_geojson(file)
    row = result.rows.get(slide.patient_id, {})
    if row.get("call") == NOT_ASSESSABLE:  # contributions add up to a score, and none is shown
        values.pop("contribution", None)
    return Explained(
        xy=xy,
        size=size,
        values=values,
        source="Mean over the bundle's models.",
        member=member,
        withheld=row.get("reason", ""),
    )


@dataclass(eq=False)
class Explainer:
    """Explains patients of a study with its bundle, which is loaded when first needed. Thread-safe."""

    session: Session
    result: Result
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _bundle: Bundle | None = None
    _done: dict[str, tuple[Explanation, str, str]] = field(default_factory=dict)

    def of(self, slide: Recorded) -> Explained:
        """The tiles of a slide. Raises KrasError if there is no model, or if it cannot explain."""
        with self._lock:
            if slide.patient_id not in self._done:
                self._done[slide.patient_id] = self._explain(slide.patient_id, bag_of_study(slide))
        why, source, member = self._done[slide.patient_id]
        here = np.array([one == slide.slide_id for one in why.slide_ids], np.bool_)
        looked = why.values if why.kind == "attention" else why.attention
        values = {} if looked is None else {"attention": looked[here]}
        if why.kind == "contribution":
            values["contribution"] = why.values[here]
        assert why.xy is not None
        bag = self._bag(slide)
        return Explained(xy=why.xy[here], size=bag.size, values=values, source=source, member=member)

    def _explain(self, patient_id: str, kind: str) -> tuple[Explanation, str, str]:
        sample = Sample(patient_id=patient_id, bags=tuple(self._bags(patient_id)))
        bundle, extractor = self._loaded(), split_extractor(kind)[1]
        member = next((m.name for m in bundle.members if m.consumes is Bag and m.extractor == extractor), None)
        if member is None:
            raise ConfigError("no model of the bundle looks at tiles", "use a classifier of tiles, such as `he`")
        if not self.result.trained_here:
            return bundle.explain(member, sample), "Mean over the bundle's models.", member
        fold = self.result.rows.get(patient_id, {}).get("fold", "")
        if not fold:
            raise ConfigError(f"the study did not score patient {patient_id}", AGAIN)
        source = f"Out of fold: by the model of fold {fold}, which never saw this patient."
        return bundle.explain(member, sample, fold=int(fold) - 1), source, member

    def _bags(self, patient_id: str) -> list[Bag]:
        """The bags as in training: in the order of the study, without empty ones."""
        bags = [self._bag(one) for one in self.result.slides.values() if one.patient_id == patient_id]
        return [bag for bag in bags if len(bag.features)]

    def _bag(self, slide: Recorded) -> Bag:
        bag = stored_bag(self.session.store, slide)
        if bag is None:
            raise StoreError(f"the features of slide {slide.slide_id} are no longer in the store", AGAIN)
        return bag

    def _loaded(self) -> Bundle:
        from kras_plugins.study.apply import open_bundle

        if self._bundle is None:
            if self.result.bundle_folder is None:
                raise StoreError("the bundle is not where it was", AGAIN)
            self._bundle = open_bundle(self.session, Path(self.result.bundle_folder))
            if self._bundle.digest != self.result.bundle:
                self._bundle = None
                raise StoreError("the bundle is not the one that made the result", AGAIN)
        return self._bundle


def stored_bag(store: Store, slide: Recorded) -> Bag | None:
    """The bag of a slide, None if it is no longer in the store."""
    kind = bag_of_study(slide)
    folder = store.at(slide.artifacts.get(kind, ""))
    if folder is None:
        return None
    return replace(read_bag(folder / BAG, slide.slide_id), extractor=split_extractor(kind)[1])
