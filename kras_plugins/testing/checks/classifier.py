"""Checks of classifiers: scores, their explanations, how they are saved, and that no test patient is looked at."""

from __future__ import annotations

import copy
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.data import Bag, Sample
from kras_plugins.errors import KrasError
from kras_plugins.learning.bundle import refuse_pickle
from kras_plugins.testing.checks import patients
from kras_plugins.testing.checks.candidate import Candidate
from kras_plugins.testing.checks.rule import check, refused, require, same, shown, unlike

if TYPE_CHECKING:
    from kras_plugins.contracts.classifier import Classifier
    from kras_plugins.data import Explanation, Float32, Float64

KIND = "classifier"
TRAIN, VALID, NEW = 36, 15, 24
LEAK_PATIENTS = 30
TOLERANCE = 1e-4
"""Relative to the largest score: float32 sums in another order."""

RAW = "Raw scores float32[sample], higher for the positive class, on any scale"


def _labelled(candidate: Candidate) -> tuple[patients.Labelled, patients.Labelled, patients.Labelled]:
    """Patients to train on, for early stopping, and new ones: the author's samples in this order, or drawn ones."""
    if candidate.samples:
        given, n = list(candidate.samples), len(candidate.samples)
        return given[: n // 2], given[n // 2 : 3 * n // 4], given[3 * n // 4 :]
    drawn = lambda: (patients.draw(TRAIN, 0), patients.draw(VALID, 1), patients.draw(NEW, 2))  # noqa: E731
    return candidate.once("patients", drawn)


def _new(candidate: Candidate) -> list[Sample]:
    return [sample for sample, _ in _labelled(candidate)[2]]


def _fit(candidate: Candidate, noise: int = 0) -> Classifier:
    """A classifier fitted with seed 0, with the global random states set to `noise`."""
    train, valid, _ = _labelled(candidate)
    classifier: Classifier = candidate.record.create(candidate.options, 0)
    states = random.getstate(), np.random.get_state()
    random.seed(noise)
    np.random.seed(noise)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(noise)
    try:
        classifier.fit(patients.cohort(train), patients.cohort(valid))
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
    return classifier


def _fitted(candidate: Candidate) -> Classifier:
    return candidate.need("fitted", lambda: _fit(candidate), "fits")


def _scores(candidate: Candidate) -> Float32:
    return candidate.need("scores", lambda: _fitted(candidate).predict(_new(candidate)), "scores_described")


def _fit_another(candidate: Candidate) -> None:
    """Fit to inverted labels, so that whatever a class or module keeps is no longer what was saved."""
    train, valid, _ = ([(sample, 1 - label) for sample, label in part] for part in _labelled(candidate))
    candidate.record.create(candidate.options, 0).fit(patients.cohort(train), patients.cohort(valid))


def _saved(candidate: Candidate, classifier: Classifier, name: str) -> Path:
    folder = candidate.folder / name
    folder.mkdir(exist_ok=True)
    classifier.save(folder)
    return folder


def _files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _saved_once(candidate: Candidate) -> Path:
    fitted = _fitted(candidate)
    return candidate.need("saved", lambda: _saved(candidate, fitted, "saved"), "saved_and_loaded")


@check(KIND, file="contracts/classifier.py", words="Fit on `train`; `valid` may serve early stopping and choices")
def fits(candidate: Candidate) -> None:
    """It fits patients as the host passes them: read-only arrays, missing values, patients with several slides."""
    require(candidate.record.consumes.__name__ in ("Bag", "SemanticProfile"), "consumes=Bag or SemanticProfile",
            candidate.record.consumes)  # fmt: skip
    candidate.once("fitted", lambda: _fit(candidate))


@check(KIND, file="contracts/classifier.py", words=RAW)
def scores_described(candidate: Candidate) -> None:
    """`predict` returns one finite float32 per patient, even if values are missing."""
    fitted, new = _fitted(candidate), _new(candidate)
    scores = candidate.once("scores", lambda: fitted.predict(new))
    right = isinstance(scores, np.ndarray) and scores.dtype == np.float32 and scores.shape == (len(new),)
    require(right, f"float32[{len(new)}]", shown(scores))
    require(bool(np.isfinite(scores).all()), "finite scores", f"{np.sum(~np.isfinite(scores))} that are not")


@check(KIND, file="contracts/classifier.py", words="higher for the positive class")
def higher_for_positive(candidate: Candidate) -> None:
    """New positive patients, who clearly differ, get higher scores than negative ones."""
    scores, labels = np.asarray(_scores(candidate)), np.array([label for _, label in _labelled(candidate)[2]])
    pairs = scores[labels == 1][:, None] - scores[labels == 0]
    auroc = float(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    require(auroc >= 0.7, "an AUROC of at least 0.7 for a planted signal", f"{auroc:.2f}")


@check(KIND, file="contracts/classifier.py", words="`create(options, seed)` gives an unfitted")
def deterministic(candidate: Candidate) -> None:
    """The same patients and seed give the same model, whatever the state of the global random generators."""
    scores = _scores(candidate)
    again = _fit(candidate, noise=1).predict(_new(candidate))
    require(same(again, scores), "equal scores from a second fit with seed 0", unlike(again, scores))


@check(KIND, file="learning/bundle.py", words="`digest` names its whole content")
def saved_alike(candidate: Candidate) -> None:
    """The same patients and seed give the same files, byte for byte, without a time or path in them."""
    one, other = _files(_saved_once(candidate)), _files(_saved(candidate, _fit(candidate, noise=1), "saved again"))
    differing = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    require(not differing, "equal files", f"differences in {', '.join(differing)}")


@check(KIND, file="learning/guard.py", words="one finite score a sample")
def scored_alone(candidate: Candidate) -> None:
    """A patient's score does not depend on which others are scored, nor on the order."""
    fitted, new, scores = _fitted(candidate), _new(candidate), _scores(candidate)
    turned = fitted.predict(new[::-1])
    require(same(turned[::-1], scores, TOLERANCE), "each score in its patient's place", unlike(turned[::-1], scores))
    alone = np.concatenate([fitted.predict([sample]) for sample in new])
    require(same(alone, scores, TOLERANCE), "the score that a patient gets among others", unlike(alone, scores))


@check(KIND, file="data.py", words="Arrays are never modified after they were made")
def input_unchanged(candidate: Candidate) -> None:
    """Patients are not modified: other classifiers see the same ones."""
    train, valid, new = _labelled(candidate)
    before = copy.deepcopy([sample for sample, _ in [*train, *valid, *new]])
    for sample in [sample for sample, _ in [*train, *valid, *new]]:
        _writable(sample)
    try:
        _fit(candidate).predict(_new(candidate))
    finally:
        changed = [a.patient_id for a, b in zip([s for s, _ in [*train, *valid, *new]], before, strict=True)
                   if not _equal(a, b)]  # fmt: skip
        candidate.forget("patients")
    require(not changed, "patients as they were", f"changes in {', '.join(changed[:3])}")


@check(KIND, file="contracts/classifier.py", words="Write the fitted model into an existing empty folder")
def saved_and_loaded(candidate: Candidate) -> None:
    """A classifier that is saved and loaded gives the same scores and explanations, without the original."""
    fitted, new, scores = _fitted(candidate), _new(candidate), _scores(candidate)
    folder = candidate.once("saved", lambda: _saved(candidate, fitted, "saved"))
    require(bool(_files(folder)), "files", "none")
    _fit_another(candidate)
    (candidate.folder / "elsewhere").mkdir()
    moved = folder.rename(candidate.folder / "elsewhere" / "moved")  # a bundle is copied to where it is used
    try:
        loaded = candidate.record.load(moved)
        again, other = loaded.predict(new), loaded.explain(new[0])
    finally:
        moved.rename(folder)
    require(same(again, scores), "equal scores", unlike(again, scores))
    one = fitted.explain(new[0])
    require(same(other.values, one.values) and other.base == one.base, "an equal explanation", "another")


@check(KIND, file="contracts/classifier.py", words="safetensors, ONNX, text or JSON; no pickle")
def no_pickle(candidate: Candidate) -> None:
    """No saved file is a pickle: loading a pickle runs the code in it."""
    try:
        refuse_pickle(candidate.record.name, _saved_once(candidate))
    except KrasError as e:
        require(False, "safetensors, ONNX, text or JSON", e.message)


@check(KIND, file="data.py", words="sum to raw score minus `base`")
def explained(candidate: Candidate) -> None:
    """Contributions sum to the raw score minus their base; attention sums to one and names its tiles."""
    fitted, scores = _fitted(candidate), _scores(candidate)
    for sample, score in list(zip(_new(candidate), scores, strict=True))[:5]:
        why = fitted.explain(sample)
        values = np.asarray(why.values)
        require(values.ndim == 1 and bool(np.isfinite(values).all()), "finite float64[name or tile]", shown(values))
        if why.kind == "contribution":
            if why.xy is None:
                require(len(why.names) == len(values), f"{len(values)} names", len(why.names))
            else:
                _check_places(why, len(values))
            apart = abs(float(values.sum()) + why.base - float(score))
            scale = max(abs(float(score)), float(np.abs(values).sum()), 1e-3)
            require(apart <= 1e-3 * scale, f"values that sum to {score - why.base:.6g}", f"{values.sum():.6g}")
            if why.attention is not None:
                _check_attention(why.attention, len(values))
        else:
            _check_attention(values, len(values))
            _check_places(why, len(values))


@check(KIND, file="contracts/classifier.py", words="The host never shows it a patient of the outer test fold")
def no_leaks(candidate: Candidate) -> None:
    """Nothing that is fitted in a cross-validation depends on labels or features of its test patients."""
    from kras_plugins.testing.leaks import classifier_leaks

    _fitted(candidate)
    some = [pair for part in _labelled(candidate) for pair in part][:LEAK_PATIENTS]
    labels = np.array([label for _, label in some], np.int8)
    found = classifier_leaks(candidate.record, [sample for sample, _ in some], labels, options=candidate.options)
    require(not found, "nothing", "; ".join(found[:3]))


@check(KIND, file="learning/training.py", words="unless `train` holds both classes and `valid` holds anybody")
def one_class_refused(candidate: Candidate) -> None:
    """A training part without a positive (or negative) patient is refused."""
    train, valid, _ = _labelled(candidate)
    for label in (0, 1):
        classifier = candidate.record.create(candidate.options, 0)
        with refused(f"a training part of label {label} alone", came=lambda: "a model"):
            classifier.fit(patients.cohort([(s, label) for s, _ in train]), patients.cohort(valid))


@check(KIND, file="learning/guard.py", words="raises PluginError unless there is one finite score a sample")
def not_finite_told(candidate: Candidate) -> None:
    """An infinite value leads to an error or a score that is not finite, never to a plausible score."""
    sample = _new(candidate)[0]
    if candidate.record.consumes is Bag:
        features = np.array(sample.bags[0].features)
        features[:, 0] = np.inf
        _told(candidate, patients.with_bags(sample, features), "infinite features")
    else:
        assert sample.profile is not None
        values = np.full(len(sample.profile.values), np.inf)
        _told(candidate, patients.with_values(sample, sample.profile.names, values), "infinite values")


@check(KIND, file="learning/guard.py", words="raises PluginError unless there is one finite score a sample")
def strange_features_told(candidate: Candidate) -> None:
    """Features of another kind than it was fitted on raise an error and are never scored."""
    sample = _new(candidate)[0]
    if candidate.record.consumes is Bag:
        wider = np.concatenate([sample.bags[0].features] * 2, axis=1)
        _told(candidate, patients.with_bags(sample, wider), "tiles of twice as many features")
    else:
        names = ("another", "feature")
        _told(candidate, patients.with_values(sample, names, np.ones(2)), "a profile of other features")


def _told(candidate: Candidate, sample: Sample, what: str) -> None:
    fitted = _fitted(candidate)
    _scores(candidate)
    try:
        score = np.asarray(fitted.predict([sample]))
    except Exception as e:  # noqa: BLE001 - the host turns any into a PluginError that names the patient
        require(bool(str(e).strip()), f"an error with a message for {what}", repr(e))
        return
    require(not np.isfinite(score).all(), f"an error for {what}", f"a score of {score}")


def _check_attention(values: Float64, n: int) -> None:
    require(np.shape(values) == (n,), f"attention of {n} tiles", shown(values))
    require(abs(float(np.sum(values)) - 1) < 1e-3, "attention that sums to 1", f"{np.sum(values):.6g}")


def _check_places(why: Explanation, n: int) -> None:
    xy = why.xy
    placed = xy is not None and np.shape(xy) == (n, 2) and len(why.slide_ids) == n
    require(placed, f"slide_ids and xy of {n} tiles", f"{len(why.slide_ids)} and {shown(xy)}")


def _arrays(sample: Sample) -> list[Any]:
    found: list[Any] = [array for bag in sample.bags for array in (bag.features, bag.xy)]
    return found + ([sample.profile.values] if sample.profile is not None else [])


def _writable(sample: Sample) -> None:
    for array in _arrays(sample):
        if array.flags.owndata:
            array.flags.writeable = True


def _equal(a: Sample, b: Sample) -> bool:
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(_arrays(a), _arrays(b), strict=True))
