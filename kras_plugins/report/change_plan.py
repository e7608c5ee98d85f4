"""The skeleton of a predetermined change control plan, filled in with what a bundle states about itself.

Its three parts are those of FDA's guidance "Marketing Submission Recommendations for a Predetermined Change Control
Plan for Artificial Intelligence-Enabled Device Software Functions" (December 2024), in our own words. Whoever is
responsible for a device writes the plan; what only they can know is marked.
"""

from __future__ import annotations

from collections.abc import Mapping

from kras_plugins.cohort.targets import target_label
from kras_plugins.data import split_extractor
from kras_plugins.evaluation.calls import probability
from kras_plugins.manifest import stated_parts
from kras_plugins.report.html import estimate, number, percent
from kras_plugins.report.model_card import Section
from kras_plugins.report.reported import Facts, count, rule_label

BLANK = "[to be written]"
"""What the bundle cannot know."""

CHANGES = (
    ("Trained on more patients", "models, calibration, thresholds", "parts, intended use, inputs"),
    ("Thresholds for another aim or population", "thresholds", "models, calibration, parts"),
    ("Calibrated for another prevalence", "calibration", "models, parts; ranking of patients"),
    ("Another scanner, stain or kind of specimen", "accepted inputs, perhaps models", "intended use, output"),
    ("Other weights of the extractor or profiler", "inputs of the models, hence all of them", "intended use, output"),
)
"""Kinds of change that a plan may propose: each with what it changes and what it leaves."""

STEPS = {
    "scanner": "Hold results of that scanner back; test the version on its slides (modification 4)",
    "mpp": "Ask for the scanning profile used in training; else test the version at this one (modification 4)",
    "stain": "Ask the laboratory; control slides; test the version on the new stain (modification 4)",
    "quality": "Ask the laboratory and the scanner's operator; no modification of the version",
    "abstention": "Look at the reasons: quality, scope or a member without input; no modification for that alone",
    "features": "Look at the named ones; test the profiler on cells and tissue of new slides (modification 4 or 5)",
    "score": "Find the cause above; without one, ask for labels of these patients before any modification",
    "prevalence": "Calibrate for the new prevalence (modification 3); predictive values do not carry over",
    "calibration": "Calibrate again (modification 3), or train on more patients (modification 1)",
    "rates": "Make no calls until it is understood; choose thresholds (modification 2) or train (modification 1) again",
}
"""By group of `kras monitor`, the step that drift would trigger; numbers are those of CHANGES."""

_RATES = {"sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV"}


def change_plan(bundle: Facts, digest: str, version: str) -> list[Section]:
    """The sections of the plan for a bundle.

    `bundle`: the content of `bundle.json`, of which any fact may be absent; `digest`: the bundle's; `version`: of kras.
    """
    return [
        _locked(bundle, digest, version),
        _modifications(),
        *_protocol(bundle),
        _acceptance(bundle),
        _watch(),
        *_impact(),
    ]


def _watch() -> Section:
    return Section(
        title="2. Modification protocol: what monitoring would trigger",
        points=(
            "`kras monitor BUNDLE PREDICTIONS --labels LABELS` compares new patients with those of training, at a rate "
            "of false alarms that is stated before the first look; an alarm is a reason to look, not proof of harm.",
            f"Windows, rate of false alarms, who looks, and within which time: {BLANK}",
        ),
        headers=("Drift found in", "Step", "Who, by when?"),
        rows=tuple((group.capitalize(), step, BLANK) for group, step in STEPS.items()),
    )


def _locked(bundle: Facts, digest: str, version: str) -> Section:
    facts, made = bundle.get("facts") or {}, bundle.get("provenance") or {}
    members = [m for m in bundle.get("members") or () if isinstance(m, Mapping)]
    splits = f"{made.get('folds')} folds, {made.get('splits')}" if made.get("folds") else "not stated"
    return Section(
        title="The version that changes would start from",
        points=(
            f"Bundle {digest or BLANK}, made by kras {version or BLANK}; its seal names every file.",
            f"Predicts {target_label(str(facts.get('target') or ''))} from H&E slides of non-small cell lung cancer: a "
            "calibrated probability and a call for each patient.",
            f"Models: {', '.join(str(m.get('name')) for m in members) or 'not stated'}, one of each for every outer "
            f"fold, fused by {(bundle.get('fusion') or {}).get('kind') or 'not stated'}.",
            *(_part(split_extractor(key)[0], part) for key, part in stated_parts(facts).items()),
            f"Data: {made.get('cohort') or 'not stated'}, {count(made, 'n')} patients, {count(made, 'n_positive')} "
            f"positive; {splits}; seed {made.get('seed', 'not stated')}.",
            f"Calibrated at a prevalence of {percent(facts.get('prevalence'))}.",
            f"Device, marketing submission and authorized version: {BLANK}",
            f"Intended use, users and population: {BLANK}",
        ),
        headers=("Frozen threshold", "Logit", "Probability", "How it was chosen"),
        rows=_thresholds(bundle),
    )


def _part(kind: str, part: Facts) -> str:
    models = ", ".join(f"{name} {str(digest)[:12]}" for name, digest in (part.get("models") or {}).items())
    return f"{kind.capitalize()}: {part.get('name')} {part.get('version') or ''}, models {models or 'none'}"


def _thresholds(bundle: Facts) -> tuple[tuple[str, ...], ...]:
    frozen = (bundle.get("thresholds") or {}).get("ensemble") or {}
    told = ((bundle.get("provenance") or {}).get("thresholds") or {}).get("ensemble") or {}
    return tuple(
        (
            rule_label(rule),
            number(logit),
            number(None if logit is None else probability(logit)),
            str(told.get(rule) or "not stated"),
        )
        for rule, logit in frozen.items()
    )


def _modifications() -> Section:
    return Section(
        title="1. Description of modifications",
        points=(
            "Keep what is planned and can be verified; strike the rest. Such a plan cannot cover a change of intended "
            "use.",
            "State for each whether it is made manually or automatically, for all sites or for one, and how often.",
        ),
        headers=("No.", "Modification", "Changes", "Leaves as it is", "Planned? Why, how often, where?"),
        rows=tuple((str(i), *change, BLANK) for i, change in enumerate(CHANGES, 1)),
    )


def _protocol(bundle: Facts) -> list[Section]:
    made = bundle.get("provenance") or {}
    aims = made.get("targets") or {}
    return [
        Section(
            title="2. Modification protocol: data",
            points=(
                "`kras cohort check` finds patients, slides and features that would leak; patients of training are "
                "recognized by the content of their slides.",
                f"Where new data come from, whom they represent, how they are labeled and by which assay: {BLANK}",
                f"Data kept apart for the test of a change, and who may see them: {BLANK}",
            ),
        ),
        Section(
            title="2. Modification protocol: training",
            points=(
                f"`kras run` with the settings of manifest.json: {made.get('fusion') or 'its'} fusion, nested "
                "cross-validation grouped by patient, everything fitted inside the training part.",
                f"Thresholds aim at a sensitivity of {number(aims.get('sensitivity'), 2)} and a specificity of "
                f"{number(aims.get('specificity'), 2)} on training patients.",
                f"What starts a new training, and what may be chosen again in it: {BLANK}",
            ),
        ),
        Section(
            title="2. Modification protocol: performance",
            points=(
                "`kras evaluate` applies old and new bundle to the same patients that neither has seen; the thresholds "
                "are those frozen in each.",
                f"Number of patients and positives that the test needs, and why: {BLANK}",
                f"Subgroups that must not fare worse, and by how much: {BLANK}",
                f"What happens to a change that fails: {BLANK}",
            ),
        ),
        Section(
            title="2. Modification protocol: update",
            points=(
                "A new bundle has a digest of its own and may be signed (`kras bundle sign`); results state the "
                "digest, and a folder of results accepts those of one bundle only.",
                f"How users learn of a change, and of what it changes for them: {BLANK}",
                f"How the previous version is restored, and how performance is monitored afterward: {BLANK}",
            ),
        ),
    ]


def _acceptance(bundle: Facts) -> Section:
    facts = bundle.get("facts") or {}
    internal = facts.get("internal") or {}
    rows = []
    for table, population in (("models", "all evaluated"), ("luad_only", "adenocarcinoma")):
        area = (internal.get(table) or {}).get("ensemble")
        if area:
            counts = f"{count(area, 'n')} patients, {count(area, 'n_positive')} positive"
            rows.append((f"AUROC, {population}", f"{estimate(area)}, {counts}", BLANK))
    for rule, point in (facts.get("operating_points") or {}).items():
        rows += [
            (f"{label}, {rule_label(rule)}", percent((point or {}).get(key)), BLANK) for key, label in _RATES.items()
        ]
    return Section(
        title="2. Modification protocol: acceptance",
        points=(
            "Figures of the ensemble in cross-validation, with 95 % intervals; cross-validation is not a test on other "
            "patients. A limit belongs to the test set that is named above.",
        ),
        headers=("Measure", "This version", "Limit for acceptance"),
        rows=tuple(rows),
    )


def _impact() -> list[Section]:
    return [
        Section(
            title="3. Impact assessment",
            points=(
                f"This version compared with one that has each change alone: {BLANK}",
                f"Benefits and risks of each change, also for subgroups; false rule-outs leave a patient without a "
                f"drug: {BLANK}",
                f"How the protocol keeps these risks in bounds: {BLANK}",
                f"Effect of one change on another, and of all together: {BLANK}",
            ),
        ),
        Section(
            title="Which part of the protocol and of the assessment covers each modification",
            headers=("No.", "Modification", "Data", "Training", "Performance", "Update", "Impact"),
            rows=tuple((str(i), change[0], *[BLANK] * 5) for i, change in enumerate(CHANGES, 1)),
        ),
    ]
