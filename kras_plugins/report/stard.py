"""STARD-AI (Sounderajah et al., Nat Med 2025;31:3283): what each item asks, and what a run can say about it itself.

For studies of diagnostic accuracy; numbers are those of its table 2, 40 items in 48 rows. The items are worded by us
and shortened; the published checklist and its explanations are what counts.
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
from kras_plugins.report.reported import Reported, rule_label

ITEMS: tuple[Item, ...] = (
    ("1", "Title", "Say that the accuracy of an AI test is studied, and name one measure of it"),
    ("2", "Abstract", "A structured summary after STARD for Abstracts"),
    ("3", "Background", "What the test is for, whether it is new, and its place among the tests done today"),
    ("4", "Objectives", "Aims and hypotheses"),
    ("5", "Design", "Whether data were collected before or after both tests were planned"),
    ("6", "Ethics", "Who approved the study, or why nobody had to"),
    ("7", "Eligibility", "Which participants and data were included and excluded, in the order of the steps"),
    ("8", "Participants", "What brought participants to the study"),
    ("9", "Participants", "Where and when they were found"),
    ("10", "Participants", "Whether they were a consecutive, random or convenience series"),
    ("11", "Dataset", "Where the data come from: routine care, this study, or a public collection"),
    ("12", "Annotation", "Who annotated the data, with what expertise, in routine care or afterward"),
    ("13", "Devices", "Makers and models of the devices, and the software behind the test with its version"),
    ("14", "Preprocessing", "How data were acquired and prepared, so that others can repeat it"),
    ("15a", "Index test", "The test, so that others can repeat it"),
    ("15b", "Index test", "How it was trained, validated and tested, on how many"),
    ("15c", "Index test", "What counts as positive, why, and whether that was fixed beforehand"),
    ("15d", "Index test", "Who is to use it, with what expertise"),
    ("16a", "Reference standard", "The reference test, so that others can repeat it"),
    ("16b", "Reference standard", "Why this one, where there are others"),
    ("16c", "Reference standard", "What counts as positive, why, and whether that was fixed beforehand"),
    ("17a", "Blinding", "What those who ran the index test knew of clinical data and of the reference"),
    ("17b", "Blinding", "What those who judged the reference knew of clinical data and of the index test"),
    ("18", "Analysis", "How accuracy was estimated and compared"),
    ("19", "Analysis", "What was done with indeterminate results"),
    ("20", "Analysis", "What was done with missing results"),
    ("21", "Analysis", "Analyses of variability, and which were planned"),
    ("22", "Sample size", "How many were intended, and why"),
    ("23", "Fairness", "How errors, bias and fairness were looked at"),
    ("24", "Flow", "Participants from step to step, as a diagram"),
    ("25", "Characteristics", "Patients, disease and technique in the sets for training, validation and test"),
    ("26a", "Spectrum", "How severe the disease is in those with the target condition"),
    ("26b", "Spectrum", "What those without it have instead"),
    ("27", "Interval", "Time and treatment between both tests"),
    ("28", "Representativeness", "Whether the target condition is as frequent and varied as where the test is used"),
    ("29", "External evaluation", "How an independent cohort differs from the data of development"),
    ("30", "Results", "Results of the test against those of the reference"),
    ("31", "Results", "Accuracy with intervals"),
    ("32", "Results", "Harm done by either test"),
    ("33", "Limitations", "Bias, statistical uncertainty, and to whom results carry over"),
    ("34", "Implications", "What follows for practice, and the role of the test in it"),
    ("35", "Ethics of use", "Ethical questions that use of the test raises, fairness among them"),
    ("36", "Registration", "Number and register"),
    ("37", "Protocol", "Where it can be read"),
    ("38", "Funding", "Who paid, and what part they had"),
    ("39", "Interests", "Commercial interests"),
    ("40a", "Availability", "Whether data and code can be obtained and reused"),
    ("40b", "Audit", "Whether outputs are kept and can be examined"),
)  # fmt: skip


def stard(of: Reported) -> Checklist:
    """The checklist with what this run can say."""
    return Checklist(
        key="stard",
        name="STARD-AI",
        file="stard-ai.md",
        source="Sounderajah et al., STARD-AI, Nat Med 2025;31:3283",
        rows=answered(ITEMS, _methods(of) | _results(of)),
    )


def _methods(of: Reported) -> dict[str, str]:
    target, named = of.metrics.get("target"), columns(of)
    version = (of.manifest.get("versions") or {}).get("kras")
    rules = ", ".join(map(rule_label, of.main_model.get("operating_points") or {}))
    column = f"column {target} of the cohort table" if target else ""
    return {
        "4": f"{kind(of)}; hypotheses: {AUTHORS}",
        "7": f"slides: quality control, failures and scope, as the report counts them; participants: {AUTHORS}",
        "12": f"one label per patient is all that was learned or tested; who made it: {AUTHORS}",
        "13": f"kras {version}; scanners: {AUTHORS}" if version else "",
        "14": PREPARED,
        "15a": "; ".join(filter(None, (members(of), predictors(of)))),
        "15b": scheme(of),
        "15c": f"{rules}: set on training patients and fixed before evaluation, as metrics.json says" if rules else "",
        "15d": f"research use only; who may use it, with what training: {AUTHORS}",
        "16a": f"{column}; by which assay: {AUTHORS}" if column else "",
        "16c": f"1 in {column}; an unknown value is not negative; which variants count: {AUTHORS}" if column else "",
        "17a": "software runs it: no label and no clinical covariate of a patient enters that patient's score",
        "18": MEASURES,
        "19": "a patient between the thresholds is indeterminate, one without a score not assessable; both are counted",
        "20": IMPUTED,
        "21": f"by {', '.join(named)}; which of them were planned: {AUTHORS}" if named else "",
        "22": sample_size(of),
        "23": f"accuracy by {', '.join(named)}; what else was done: {AUTHORS}" if named else "",
    }


def _results(of: Reported) -> dict[str, str]:
    shift = (of.metrics.get("external") or {}).get("shift")
    return {
        "24": "see the flow of patients in the report" if of.metrics.get("cohort_flow") else "",
        "25": f"see shift between training and this cohort; the rest: {AUTHORS}" if shift else "",
        "29": "see shift between training and this cohort" if shift else "",
        "30": "calls by label in the report; every score and call in predictions.csv" if of.main_model else "",
        "31": f"{areas_in_words(of)}; sensitivity, specificity and predictive values of each threshold in the report"
        if of.main_model
        else "",
        "33": LIMITS,
        "34": f"research use only, and no substitute for sequencing; the rest: {AUTHORS}",
        "40a": f"kras is open source; version and options are in manifest.json; the data: {AUTHORS}",
        "40b": "scores, calls, settings, versions and digests are kept: predictions.csv, metrics.json, manifest.json",
    }
