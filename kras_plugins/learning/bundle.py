"""The deployable result of a run: the outer-fold models of its first repeat, each with its own calibration.

Not a refit: a refit's scores differ from those that set the thresholds. The score of a patient is the mean over folds
of the fold's fused logit, by default the mean of its members' calibrated logits; thresholds come from the first
repeat's out-of-fold scores.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kras_plugins.contracts.classifier import Classifier
from kras_plugins.data import Bag, Explanation, Sample, SemanticProfile
from kras_plugins.errors import PluginError, StoreError, described
from kras_plugins.files.atomic import share
from kras_plugins.learning.calibration import Platt
from kras_plugins.learning.content import CONTENT, read_content, schema_of
from kras_plugins.learning.experiment import Experiment
from kras_plugins.learning.fusion import Fused, Fusion, load_fusion
from kras_plugins.learning.guard import Called, call, predict
from kras_plugins.learning.inputs import Encoded, Inputs, conform, handed, has_input
from kras_plugins.learning.seal import seal, sealed

if TYPE_CHECKING:
    from kras_plugins.data import Float64
    from kras_plugins.learning.content import InputsContent

K = TypeVar("K")


@dataclass(frozen=True, kw_only=True)
class FoldModel:
    """One outer-fold model with its calibration."""

    classifier: Classifier
    platt: Platt


@dataclass(frozen=True, kw_only=True)
class MemberModels:
    """One member of the bundle: its plug-in, what that consumes, and its model of each outer fold.

    `who`: its name in errors; `extractor`: the extractor whose bags it gets, if there are several.
    """

    name: str
    who: Called
    plugin: str
    consumes: type[Bag] | type[SemanticProfile]
    folds: tuple[FoldModel, ...]
    extractor: str = ""


@dataclass(frozen=True, kw_only=True)
class BundleScores:
    """Calibrated logits of new patients, NaN if a member lacks its input.

    `members[name]`: float64[patient], mean over folds; `by_fold[name]`: float64[fold patient]; `ensemble`: mean over
    folds of `ensemble_by_fold` float64[fold patient], the strict ensemble of each fold's models alone.
    """

    members: Mapping[str, Float64]
    ensemble: Fused
    by_fold: Mapping[str, Float64]
    ensemble_by_fold: Float64


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A loaded bundle. `digest` names its whole content; `thresholds[model][rule]` are logits, None if not set.

    `fusions`: how the models of each fold are fused.
    """

    digest: str
    members: tuple[MemberModels, ...]
    fusions: tuple[Fusion, ...]
    thresholds: Mapping[str, Mapping[str, float | None]]
    inputs: Inputs
    facts: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def score(self, samples: Sequence[Sample]) -> BundleScores:
        """Score patients.

        Raises ConfigError for features the models were not fitted on, PluginError from a member, StoreError if the
        bundle's own calibration makes a score infinite.
        """
        samples = conform(samples, self.inputs)
        by_fold = {}
        for member in self.members:
            own = [handed(s, member.extractor) for s in samples]
            here = np.array([has_input(member.consumes, s) for s in own], bool)
            scored = [s for s, h in zip(own, here, strict=True) if h]
            by_fold[member.name] = np.full((len(member.folds), len(samples)), np.nan)
            for k, model in enumerate(member.folds):
                raw = predict(member.who, model.classifier, scored, f"scoring with its fold-{k} model")
                by_fold[member.name][k, here] = _calibrated(member.name, k, model.platt, raw)
        fused = [
            fusion.fuse({name: logits[k] for name, logits in by_fold.items()}) for k, fusion in enumerate(self.fusions)
        ]
        strict = np.stack([f.strict for f in fused])
        return BundleScores(
            members={name: logits.mean(axis=0) for name, logits in by_fold.items()},
            ensemble=Fused(strict=strict.mean(axis=0), available=np.mean([f.available for f in fused], axis=0)),
            by_fold=by_fold,
            ensemble_by_fold=strict,
        )

    def explain(self, name: str, sample: Sample, fold: int | None = None) -> Explanation:
        """Why member `name` gives a patient its calibrated logit; with `fold`, counted from 0, that fold's model alone.

        Contributions are weighted by each fold's slope, so that base and values sum to the member's mean logit;
        attention is the plain mean over folds. Raises PluginError from the member.
        """
        member = next(m for m in self.members if m.name == name)
        (conforming,) = conform([sample], self.inputs)
        sample = handed(conforming, member.extractor)

        def explained() -> Explanation:
            models = member.folds if fold is None else member.folds[fold : fold + 1]
            return _over_folds([model.classifier.explain(sample) for model in models], [m.platt for m in models])

        return call(member.who, f"explaining patient {sample.patient_id}", explained)


def _calibrated(member: str, fold: int, platt: Platt, raw: Float64) -> Float64:
    with np.errstate(over="ignore", invalid="ignore"):  # reported below
        logits = platt.logit(raw)
    if not np.isfinite(logits).all():
        raise StoreError(
            f"bundle refused: the fold-{fold} calibration of {member} gives no finite score",
            "ask its maker for an intact copy, or train your own",
        )
    return logits


def _over_folds(parts: Sequence[Explanation], lines: Sequence[Platt]) -> Explanation:
    first = parts[0]
    if first.kind == "attention":
        return replace(first, values=np.mean([part.values for part in parts], axis=0))
    base = float(np.mean([line.logit(part.base) for line, part in zip(lines, parts, strict=True)]))
    weights = [line.slope / len(parts) for line in lines]
    if first.xy is None:
        # Each fold chose its own features: a feature that a fold did not use contributed nothing there.
        named = _summed([part.names for part in parts], [part.values for part in parts], weights)
        return Explanation(kind="contribution", values=np.array(list(named.values())), base=base, names=tuple(named))
    tiles = [_places(part) for part in parts]
    total = _summed(tiles, [part.values for part in parts], weights)
    looked = [part.attention for part in parts if part.attention is not None]
    shares = _summed(tiles, looked, [1 / len(parts)] * len(parts)) if len(looked) == len(parts) else None
    return Explanation(
        kind="contribution",
        values=np.array(list(total.values())),
        base=base,
        slide_ids=tuple(slide for slide, _, _ in total),
        xy=np.array([(x, y) for _, x, y in total], np.int32).reshape(-1, 2),
        attention=None if shares is None else np.array(list(shares.values())),
    )


def _places(part: Explanation) -> list[tuple[str, int, int]]:
    """Slide and place of each tile."""
    assert part.xy is not None
    return [(slide, x, y) for slide, (x, y) in zip(part.slide_ids, part.xy.tolist(), strict=True)]


def _summed(keys: Sequence[Sequence[K]], values: Sequence[Float64], weights: Sequence[float]) -> dict[K, float]:
    """The weighted sum of the values of each key, in order of first appearance."""
    total: dict[K, float] = {}
    for some, own, weight in zip(keys, values, weights, strict=True):
        for key, value in zip(some, own.tolist(), strict=True):
            total[key] = total.get(key, 0.0) + weight * value
    return total


def write_bundle(
    folder: Path,
    experiment: Experiment,
    *,
    facts: Mapping[str, Any],
    thresholds: Mapping[str, Mapping[str, float | None]],
    provenance: Mapping[str, Any],
) -> str:
    """Write and seal a bundle, replacing an earlier one; returns its digest.

    `facts`: what prediction must repeat (encoder, transform, tile, profiler and precision, target, options, baseline
    rates); `thresholds`: logits by model and rule; `provenance`: where it came from. All JSON values. Raises
    PluginError when a classifier saved a pickle, StoreError when the folder cannot be written.
    """
    content = {
        "schema_version": schema_of([m.extractor for m in experiment.members]),
        "facts": facts,
        "thresholds": thresholds,
        "provenance": provenance,
        "inputs": experiment.inputs.to_dict(),
        "fusion": {"kind": experiment.fusion, "folds": [fusion.to_dict() for fusion in experiment.fusions[0]]},
        "members": [
            {
                "name": m.name,
                "plugin": m.plugin.name,
                "identity": m.identity,
                "options": m.options.result_affecting(),
                "consumes": "bags" if m.plugin.consumes is Bag else "profile",
                **({"extractor": m.extractor} if m.extractor else {}),
                "folds": [
                    {"model": f"models/fold-{k}/{m.name}", **asdict(line)}
                    for k, line in enumerate(experiment.platt[m.name][0])
                ],
            }
            for m in experiment.members
        ],
    }
    work = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(work, ignore_errors=True)
        for m in experiment.members:
            for k, source in enumerate(experiment.models[m.name]):
                refuse_pickle(m.name, source)
                shutil.copytree(source, work / "models" / f"fold-{k}" / m.name)
        text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
        (work / CONTENT).write_text(text + "\n", encoding="utf-8", newline="\n")
        digest = seal(work)
        share(work, CONTENT)
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
    except OSError as e:
        raise StoreError(
            f"cannot write the bundle {folder}: {e.strerror or e}", "free disk space or choose another --out"
        ) from e
    return digest


def load_bundle(
    folder: Path, load_classifier: Callable[[str, Path], Classifier], origin: Callable[[str], str] = lambda _: ""
) -> Bundle:
    """Load a bundle after checking its seal; `load_classifier(plugin_name, folder)` loads one saved model.

    `origin(plugin_name)`: the distribution that errors name.

    Raises StoreError naming a file that was changed, added or lost, or whose content is not that of a bundle, or
    a model that cannot be loaded, PluginError if its classifier hangs.
    """
    whole = sealed(folder)
    content = read_content(folder, whole.files)
    members = []
    for m in content.members:
        models, who = [], Called(name=m.name, plugin=m.plugin, origin=origin(m.plugin))
        for k, fold in enumerate(m.folds):
            refuse_pickle(m.name, folder / fold.model)
            try:
                classifier = call(
                    who,
                    f"loading its fold-{k} model from {folder}",
                    partial(load_classifier, m.plugin, folder / fold.model),
                )
            except PluginError as e:
                if e.__cause__ is None or isinstance(e.__cause__, MemoryError):  # it hangs, or needs more memory
                    raise
                raise _not_loaded(who, folder / fold.model, e.__cause__) from e
            models.append(FoldModel(classifier=classifier, platt=Platt(fold.slope, fold.intercept)))
        consumes = Bag if m.consumes == "bags" else SemanticProfile
        members.append(
            MemberModels(
                name=m.name, who=who, plugin=m.plugin, consumes=consumes, folds=tuple(models), extractor=m.extractor
            )
        )
    return Bundle(
        digest=whole.digest,
        members=tuple(members),
        fusions=tuple(load_fusion(content.fusion.kind, values) for values in content.fusion.folds),
        thresholds=content.thresholds,
        inputs=_inputs(content.inputs),
        facts=content.facts,
        provenance=content.provenance,
    )


def _not_loaded(who: Called, model: Path, cause: BaseException) -> StoreError:
    """The error for a model that its classifier cannot load; the file may be at fault, not the classifier."""
    return StoreError(
        f"{model}: {who} cannot load this model: {described(cause)}",
        "it is damaged, or of another version of the plug-in: take the bundle as `kras run` wrote it; if it is that, "
        f"see `kras plugin check classifier:{who.plugin}`",
    )


def _inputs(stated: InputsContent) -> Inputs:
    encoders = {
        name: Encoded(encoder=one.encoder, transform_hash=one.transform_hash) for name, one in stated.extractors.items()
    }
    if stated.encoder is not None:
        encoders[""] = Encoded(encoder=stated.encoder, transform_hash=stated.transform_hash or "")
    return Inputs(encoders=encoders, features=None if stated.features is None else tuple(stated.features))


def refuse_pickle(name: str, folder: Path) -> None:
    """Raise PluginError if a saved model contains a pickle, by suffix or by its first bytes."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as f:
            head = f.read(2)
        # A safetensors file begins with a length, which may look like a pickle's protocol bytes.
        pickled = path.suffix != ".safetensors" and head in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
        if pickled or path.suffix in {".pkl", ".pickle", ".joblib", ".pt", ".pth"}:
            raise PluginError(
                f"classifier {name} saved a pickle: {path.name}",
                "save as safetensors, ONNX, text or JSON",
            )
