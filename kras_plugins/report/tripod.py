"""TRIPOD+AI (Collins et al., BMJ 2024;385:e078378): what each item asks, and what a run can say about it itself.

The items are worded by us and shortened; the published checklist and its explanations are what counts.
"""

from __future__ import annotations

from kras_plugins.report.checklist import (
    AUTHORS,
    IMPUTED,
    LIMITS,
    MEASURES,
    PREPARED,
    Checklist,
    Item,
    answered,
    areas_in_words,
    columns,
    kind,
    members,
    predictors,
    sample_size,
    scheme,
)
from kras_plugins.report.reported import Reported, out_of_scope_in_words

ITEMS: tuple[Item, ...] = (
    ("1", "Title", "Say that a prediction model is developed or evaluated, for whom and for what outcome"),
    ("2", "Abstract", "A structured summary after TRIPOD+AI for abstracts"),
    ("3a", "Background", "The clinical setting, why a model is wanted, which models exist"),
    ("3b", "Background", "Intended population, place in the pathway, intended users"),
    ("3c", "Background", "Known inequalities in health between groups of people"),
    ("4", "Objectives", "What the study is for: development, evaluation or both"),
    ("5a", "Data", "Where the data come from, and whom they represent"),
    ("5b", "Data", "When the participants were recruited"),
    ("6a", "Participants", "Setting, number and place of the centers"),
    ("6b", "Participants", "Who was eligible"),
    ("6c", "Participants", "Treatments received, and how they were handled"),
    ("7", "Data preparation", "Preprocessing and quality control, alike for all groups"),
    ("8a", "Outcome", "What is predicted, how and when it was determined"),
    ("8b", "Outcome", "Who judged it, where judgment was needed"),
    ("8c", "Outcome", "Whether it was determined without knowledge of the predictors"),
    ("9a", "Predictors", "How they were chosen before modeling"),
    ("9b", "Predictors", "What each is, how and when it was measured"),
    ("9c", "Predictors", "Who measured them, where judgment was needed"),
    ("10", "Sample size", "How it came about and why it suffices"),
    ("11", "Missing data", "How they were handled"),
    ("12a", "Analysis", "How the data were used for development and evaluation, and split"),
    ("12b", "Analysis", "How predictors were transformed and scaled"),
    ("12c", "Analysis", "Kind of model, all steps of building and tuning it, internal validation"),
    ("12d", "Analysis", "How differences between centers were handled"),
    ("12e", "Analysis", "Measures and plots of performance; how models were compared"),
    ("12f", "Analysis", "Whether the model was updated after evaluation"),
    ("12g", "Analysis", "How predictions were computed for the evaluation"),
    ("13", "Class imbalance", "Whether and how it was handled, and whether probabilities were recalibrated"),
    ("14", "Fairness", "What was done for fairness between groups"),
    ("15", "Model output", "What the model gives; how thresholds were chosen"),
    ("16", "Training and evaluation", "How the two differ in setting, eligibility, outcome and predictors"),
    ("17", "Ethics", "Approval and consent"),
    ("18a", "Open science", "Funding and the role of funders"),
    ("18b", "Open science", "Conflicts of interest"),
    ("18c", "Open science", "Where the protocol is"),
    ("18d", "Open science", "Registration"),
    ("18e", "Open science", "Whether the data are available"),
    ("18f", "Open science", "Whether the code is available"),
    ("19", "Involvement", "Role of patients and the public in the study"),
    ("20a", "Participants", "Flow of participants, with and without the outcome"),
    ("20b", "Participants", "Their characteristics, by center or data source"),
    ("20c", "Participants", "How predictors differ from the development data"),
    ("21", "Numbers", "Participants and outcome events in each analysis"),
    ("22", "Model specification", "All that is needed to compute a prediction for a new person"),
    ("23a", "Performance", "Estimates with intervals, also in subgroups; plots"),
    ("23b", "Performance", "Differences between centers"),
    ("24", "Model updating", "Results of an update"),
    ("25", "Interpretation", "What the results mean, with fairness and earlier work in mind"),
    ("26", "Limitations", "What limits the study, and what that does to the results"),
    ("27a", "Usability", "What happens with poor or missing input"),
    ("27b", "Usability", "What users must do and be able to do"),
    ("27c", "Usability", "What should be studied next"),
)  # fmt: skip


def tripod(of: Reported) -> Checklist:
    """The checklist with what this run can say."""
    return Checklist(
        key="tripod",
        name="TRIPOD+AI",
        file="tripod-ai.md",
        source="Collins et al., TRIPOD+AI statement, BMJ 2024;385:e078378",
        rows=answered(ITEMS, _methods(of) | _results(of)),
    )


def _methods(of: Reported) -> dict[str, str]:
    target, named = of.metrics.get("target"), columns(of)
    return {
        "4": kind(of),
        "6b": _eligible(of),
        "7": PREPARED,
        "8a": f"column {target} of the cohort table; an unknown value is not negative" if target else "",
        "9b": predictors(of),
        "10": sample_size(of),
        "11": IMPUTED,
        "12a": scheme(of),
        "12b": "inside each training part only; options of every plug-in are in manifest.json",
        "12c": members(of),
        "12d": _centers(of),
        "12e": MEASURES,
        "12f": "the model was not updated" if of.external else "",
        "12g": "by the frozen bundle, whose digest is in manifest.json" if of.external else "out of fold",
        "13": "options of each classifier are in manifest.json; scores are recalibrated (Platt) on training patients",
        "14": f"performance by {', '.join(named)}; what else was done: {AUTHORS}" if named else "",
        "15": "a calibrated probability and a call; thresholds were set on training patients and frozen",
        "16": "see external validation" if of.metrics.get("external") else "",
        "18f": "kras is open source; version and options are in manifest.json",
    }


def _results(of: Reported) -> dict[str, str]:
    n, positive = of.metrics.get("n"), of.metrics.get("n_positive")
    return {
        "20a": "see the flow of patients in the report" if of.metrics.get("cohort_flow") else "",
        "20c": "see the warnings of shift in the report" if (of.metrics.get("external") or {}).get("shift") else "",
        "21": f"{n} patients in scope, {positive} positive" if n is not None and positive is not None else "",
        "22": "the bundle contains all models, features and thresholds; `kras predict` applies it",
        "23a": f"{areas_in_words(of)}; more in the report" if of.main_model else "",
        "23b": _BY_SITE if "site" in columns(of) else "",
        "24": "no update" if of.external else "",
        "26": LIMITS,
        "27a": "a slide that fails quality control, or a missing input, gives `not_assessable` with a reason",
        "27b": "slides in, one call per patient out; read it with the limits in the model card in mind",
    }


_BY_SITE = "see subgroups by site in the report"


def _eligible(of: Reported) -> str:
    scope = of.metrics.get("scope") or {}
    if scope.get("n") is None:
        return ""
    return f"in scope: {scope['n']} patients; out of scope: {out_of_scope_in_words(of)}; for the study: {AUTHORS}"


def _centers(of: Reported) -> str:
    if (of.manifest.get("config") or {}).get("splits") == "site":
        return "folds keep each site whole"
    return _BY_SITE if "site" in columns(of) else ""
