"""Typical patients of the report: explained by their own fold, drawn from the slide, or left out with a note."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kras_plugins.data import Bag, Explanation, Sample, SemanticProfile, SlideRef, TileSpec
from kras_plugins.errors import SlideError
from kras_plugins.evaluation.rows import PatientScores
from kras_plugins.report.examples import NO_PATIENTS, NO_SLIDES, Example, Examples
from kras_plugins.study.examples import examples, out_of_fold
from kras_plugins.study.notify import Silent

XY = np.array([[0, 0], [512, 0], [0, 512]], np.int32)
CONTRIBUTION = np.array([0.5, -0.25, 0.125])


class Warned(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, trace: str = "") -> None:
        self.warnings.append(text)


def case(name: str, path: Path | None = Path("/somewhere/secret.svs")) -> Any:
    spec = TileSpec(px=256, mpp=0.5)
    bag = Bag(
        slide_id=f"{name}-1", features=np.zeros((3, 4), np.float32), xy=XY, size=(512.0, 512.0), tile_spec=spec,
        encoder="e", transform_hash="t",
    )  # fmt: skip
    ref = SlideRef(patient_id=name, slide_id=f"{name}-1", path=path)
    qc = None if path is None else "pass"
    result = SimpleNamespace(ref=ref, bag_of={"": bag}.get, qc=qc, map_folder=None, artifacts={})
    sample = Sample(patient_id=name, bags=(bag,))
    return SimpleNamespace(patient=SimpleNamespace(patient_id=name), sample=sample, results=(result,))


def row(name: str, fold: int = 1) -> PatientScores:
    return PatientScores(
        patient_id=name, scores={}, label=1, ensemble=0.9, call="rule_in", repeat=1, fold=fold, members=("he",)
    )


@contextmanager
def slide(_: SlideRef) -> Iterator[Any]:
    """A slide of 1024 px of 0.25 µm, green on the left and red on the right."""
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:, :128, 1], pixels[:, 128:, 0] = 200, 200

    def read(xy: tuple[float, float], size: tuple[int, int], mpp: float) -> np.ndarray:
        return np.full((*size, 3), (0, 200, 0) if xy[0] < 512 else (200, 0, 0), np.uint8)

    yield SimpleNamespace(size=(1024, 1024), mpp=(0.25, 0.25), thumbnail=lambda mpp: (pixels, (1.0, 1.0)), read=read)


@contextmanager
def broken(ref: SlideRef) -> Iterator[Any]:
    raise SlideError(f"{ref.path} is gone", "bring it back")
    yield


def explained(*_: Any) -> Explanation:
    ids = tuple(f"{_[1].patient.patient_id}-1" for _i in XY)
    return Explanation(kind="contribution", values=CONTRIBUTION, slide_ids=ids, xy=XY, attention=np.ones(3) / 3)


def pixels(uri: str) -> np.ndarray:
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert not picture.getexif() and set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    return np.asarray(picture.convert("RGB")).astype(int)


def only(found: Examples) -> Example:
    return found.kinds[0][1][0]


def test_tiles_that_raise_and_lower_come_from_where_the_explanation_says() -> None:
    shown = only(examples([row("p")], [case("p")], ("he", explained), slide, Silent()))
    assert (shown.slide_id, shown.member, shown.layer, shown.note) == ("p-1", "he", "contribution", "")
    assert [(t.xy, t.value) for t in shown.raising] == [((0, 0), 0.5), ((0, 512), 0.125)]
    assert [(t.xy, t.value) for t in shown.lowering] == [((512, 0), -0.25)]
    assert pixels(shown.lowering[0].picture)[50, 50, 0] > 150 > pixels(shown.lowering[0].picture)[50, 50, 1]
    changed = np.abs(pixels(shown.drawn) - pixels(shown.picture)).sum(axis=2)
    assert changed[10:118, 10:118].min() > 30 and changed[10:118, 138:246].min() > 30, "tiles are tinted"
    assert changed[150:240, 150:240].max() < 30, "and what no tile covers is not"


def test_two_runs_give_the_same_bytes() -> None:
    one, two = (examples([row("p")], [case("p")], ("he", explained), slide, Silent()) for _ in range(2))
    assert one == two


def test_a_slide_that_is_gone_is_warned_of_and_noted_without_its_path() -> None:
    told = Warned()
    shown = only(examples([row("p")], [case("p")], ("he", explained), broken, told))
    assert shown.picture == "" and shown.note and "secret" not in shown.note
    assert "left out of the report's examples, p:" in told.warnings[0]


def test_without_a_member_on_tiles_the_bare_slide_is_shown() -> None:
    shown = only(examples([row("p")], [case("p")], None, slide, Silent()))
    assert shown.picture and not shown.drawn and not shown.layer and not shown.raising


def test_a_study_without_slides_or_without_scores_says_so() -> None:
    assert examples([row("p")], [case("p", None)], ("he", explained), slide, Silent()).note == NO_SLIDES
    assert examples([], [case("p")], ("he", explained), slide, Silent()).note == NO_PATIENTS


@pytest.mark.parametrize("fold", [1, 3])
def test_a_patient_is_explained_by_the_model_of_the_own_fold(fold: int) -> None:
    loaded: list[Path] = []

    def load(folder: Path) -> Any:
        loaded.append(folder)
        return SimpleNamespace(explain=lambda sample: explained(None, case(sample.patient_id)))

    def member(name: str, consumes: type) -> Any:
        plugin = SimpleNamespace(name=name, consumes=consumes, load=load)
        return SimpleNamespace(name=name, origin="", plugin=plugin, extractor="")

    folders = {name: tuple(Path(f"{name}/fold-{k}") for k in range(3)) for name in ("rf", "he")}
    experiment: Any = SimpleNamespace(members=(member("rf", SemanticProfile), member("he", Bag)), models=folders)
    name, explain = out_of_fold(experiment, {""}) or ("", explained)
    explain(row("p", fold), case("p"))
    assert (name, loaded) == ("he", [Path(f"he/fold-{fold - 1}")])
    assert out_of_fold(SimpleNamespace(members=experiment.members[:1]), {""}) is None  # type: ignore[arg-type]
