"""Monitor a bundle in use: whether new patients and results are like those of training, and how good calls are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.errors import ConfigError
from kras_plugins.evaluation.drift import FEWEST
from kras_plugins.study.notify import SILENT, Notify
from kras_plugins.study.outputs import make_folder, read_json, write_json

if TYPE_CHECKING:
    from kras_plugins.evaluation.arrivals import Arrival
    from kras_plugins.evaluation.drift import Compared
    from kras_plugins.evaluation.looks import Calendar, Look
    from kras_plugins.study.arrivals import Row
    from kras_plugins.study.monitor_inputs import Reference

SCHEMA_VERSION = 1
JSON, PAGE = "monitor.json", "monitor.html"
ALPHA = 0.05
_MOST_CHECKS = 12
"""How many checks of a group are kept for each look: those with the smallest p."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to monitor, chosen before the first look: see `monitor`."""

    window: int | Calendar = "month"
    fewest: int = FEWEST
    alpha: float = ALPHA
    since: str = ""
    until: str = ""


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """The result of `monitor`. `result`: the content of monitor.json; `folder`: where it was written, or None."""

    folder: Path | None
    result: Mapping[str, Any] = field(repr=False)

    @property
    def drift(self) -> tuple[str, ...]:
        """The groups that raised an alarm."""
        return tuple(self.result["verdict"]["groups"])

    @property
    def verdict(self) -> str:
        """The answer in a sentence."""
        return str(self.result["verdict"]["sentence"])


def monitor(
    bundle: Path | str,
    predictions: Sequence[Path | str] | Path | str,
    *,
    labels: Path | str | None = None,
    out: Path | str | None = None,
    window: int | Calendar = "month",
    fewest: int = FEWEST,
    alpha: float = ALPHA,
    since: str = "",
    until: str = "",
    now: datetime | None = None,
    overwrite: bool = False,
    notify: Notify = SILENT,
    command: Sequence[str] = ("kras_plugins.study.monitor",),
) -> Monitoring:
    """Compare patients that a bundle scored with those it was trained on, window after window. Research use only.

    Parameters:
        bundle: the bundle folder of a training.
        predictions: folders of `score` (`kras predict`), all of this bundle.
        labels: table with `patient_id` and the bundle's target, as far as labels have arrived; optionally `date`.
        out: folder for monitor.html and monitor.json; the same plan (window to until) may be run again into it.
        window: how many patients to compare together, or the patients of a `day`, `week`, `month` or `quarter`.
        fewest: the smallest number of patients that is compared.
        alpha: the probability of any false alarm, ever; half of it is for what needs no label.
        since: first day of scoring that counts, as 2026-03-31.
        until: last such day.
        now: the time at which windows must have ended; the present time if None.
        overwrite: replace what another bundle or plan left in that folder.
        notify: receives notes.
        command: the words of the call, for monitor.json.

    Returns:
        The verdict, and the content of monitor.json.

    Raises:
        UsageError: a folder that is not a bundle, or that `predict` did not write.
        ConfigError: a folder of another bundle or of an earlier kras; labels that cannot be read; an invalid plan.
        StoreError: a bundle that is not whole.

    Example:
        >>> from kras_plugins import study
        >>> found = study.monitor("results/bundle", "scores")
        >>> found.verdict, found.result["patients"]["in_training"]
        ('Too few patients to compare yet: 0 of 20.', 10)
    """
    from kras_plugins.study.monitor_inputs import read_predictions_of, read_reference, with_labels

    plan = _checked(Plan(window=window, fewest=fewest, alpha=alpha, since=since, until=until))
    reference = read_reference(Path(bundle))
    folders = [predictions] if isinstance(predictions, str | Path) else list(predictions)
    rows, lacking = read_predictions_of([Path(f) for f in folders], reference.digest)
    if lacking:
        notify.note(f"{lacking} patients are left out: an earlier kras scored them without writing what is compared")
    counts, arrivals = _new(rows, plan)
    if labels is not None:
        arrivals = with_labels(arrivals, Path(labels), str(reference.facts["target"]))
    result = watched(reference, arrivals, plan, now or datetime.now(UTC)) | {"command": list(command)}
    result["patients"] |= counts | {"not_recorded": lacking}
    for group, why in result["not_compared"].items():
        notify.note(f"{group} cannot be compared: {why}")
    folder = None if out is None else _write(Path(out), result, overwrite=overwrite)
    return Monitoring(folder=folder, result=result)


def watched(reference: Reference, arrivals: Sequence[Arrival], plan: Plan, now: datetime) -> dict[str, Any]:
    """The content of monitor.json for patients from any source: folders of results, or a service's database.

    `arrivals`: each patient once, with the time of scoring, none of them from training; with labels if known.
    """
    from kras_plugins.evaluation.arrivals import INPUTS, LABELS, absent, compare_inputs, compare_outcomes
    from kras_plugins.evaluation.drift_series import series, training_series
    from kras_plugins.evaluation.looks import alarms, look_at, windows
    from kras_plugins.evaluation.monitored import performance
    from kras_plugins.manifest import library_versions

    facts, cuts = reference.facts, reference.thresholds.get("ensemble", {})
    labeled = [a for a in arrivals if a.label is not None]
    seen = windows(arrivals, plan.window, now, fewest=plan.fewest)
    known = windows(labeled, plan.window, now, fewest=plan.fewest, by="labeled")
    streams = {
        "inputs": look_at(seen, lambda some: compare_inputs(facts, some, plan.fewest), plan.alpha / 2, plan.fewest),
        "labels": look_at(
            known, lambda some: compare_outcomes(facts, some, cuts, plan.fewest), plan.alpha / 2, plan.fewest
        ),
    }
    found = {name: look for looks in streams.values() for name, look in alarms(looks).items()}
    missing = absent(facts)
    if not labeled:
        missing |= dict.fromkeys(LABELS, "no label has arrived")
    groups = {name: found[name].window.name for name in (*INPUTS, *LABELS) if name in found}
    looked = {name: sum(look.number is not None for look in looks) for name, looks in streams.items()}
    result: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kras": library_versions()["kras"],
        "target": str(facts["target"]),
        "bundle_digest": reference.digest,
        "demonstration": list(reference.provenance.get("demonstration", ())),
        "now": now.isoformat(timespec="seconds"),
        "plan": asdict(plan),
        "patients": {
            "n": len(arrivals),
            "assessable": sum(a.assessable for a in arrivals),
            "labeled": len(labeled),
            "labeled_assessable": sum(a.assessable for a in labeled),
            "positive": sum(bool(a.label) for a in labeled),
            "training": (facts.get("reference") or {}).get("n"),
        },
        "looks": looked,
        "not_compared": missing,
        **{name: [_look(look) for look in looks] for name, looks in streams.items()},
        "performance": performance(facts, arrivals, reference.thresholds) if labeled else [],
        "performance_by_window": [
            {"window": w.name, "models": performance(facts, w.arrivals, reference.thresholds)} for w in known
        ],
        "training": training_series(facts),
        "series": [series(w.name, w.arrivals) for w in seen],
    }
    sentence = _sentence(groups, result, plan)
    verdict = {"drift": _drift(groups, looked), "groups": groups, "sentence": sentence}
    finite: dict[str, Any] = _finite(result | {"verdict": verdict})
    return finite


def _drift(groups: Mapping[str, str], looked: Mapping[str, int]) -> bool | None:
    """Whether there is drift; None if nothing was looked at."""
    return True if groups else False if any(looked.values()) else None


def _sentence(groups: Mapping[str, str], result: Mapping[str, Any], plan: Plan) -> str:
    n, looked = result["patients"]["n"], result["looks"]
    if not any(looked.values()):
        if len(result["not_compared"]) and not _possible(result):
            return f"Nothing can be compared: {next(iter(result['not_compared'].values()))}."
        if n < plan.fewest:
            return f"Too few patients to compare yet: {n} of {plan.fewest}."
        return f"No window is full yet: {n} patients so far."
    looks = " and ".join(
        f"{count} {'look' if count == 1 else 'looks'}{' at labels' if name == 'labels' else ''}"
        for name, count in looked.items()
        if count
    )
    whom = f"{n} patients, {looks}; chance of any false alarm at most {plan.alpha:.0%}"
    if not groups:
        return f"No drift found ({whom})."
    first = ", ".join(f"{name} (since {window})" for name, window in groups.items())
    return f"Drift found in {first} ({whom})."


def _possible(result: Mapping[str, Any]) -> bool:
    from kras_plugins.evaluation.arrivals import INPUTS

    return not result["not_compared"].keys() >= {*INPUTS}


def _new(rows: Sequence[Row], plan: Plan) -> tuple[dict[str, int], list[Arrival]]:
    """Each patient once, as first scored, without those of training and those outside the plan's days; and counts."""
    days = [(row, row.arrival.when[:10]) for row in sorted(rows, key=lambda row: row.arrival.when)]
    inside = [row for row, day in days if plan.since <= day and (not plan.until or day <= plan.until)]
    fresh = [row.arrival for row in inside if not row.in_training]
    first: dict[str, Arrival] = {}
    for arrival in fresh:
        first.setdefault(arrival.patient_id, arrival)
    counts = {
        "in_training": len(inside) - len(fresh),
        "again": len(fresh) - len(first),
        "other_days": len(rows) - len(inside),
    }
    return counts, list(first.values())


def _checked(plan: Plan) -> Plan:
    if isinstance(plan.window, int) and plan.window < plan.fewest:
        raise ConfigError(
            f"windows of {plan.window} patients are smaller than {plan.fewest}, the smallest number that is compared",
            "use larger windows, or lower --fewest",
        )
    if plan.fewest < 2 or not 0 < plan.alpha < 1:
        raise ConfigError(
            f"fewest {plan.fewest}, alpha {plan.alpha:g}: not a valid number of patients or rate",
            "for example 20 and 0.05",
        )
    for day in filter(None, (plan.since, plan.until)):
        try:
            date.fromisoformat(day)
        except ValueError as e:
            raise ConfigError(f"{day}: not a date", "write it as 2026-03-31") from e
    return plan


def _look(look: Look) -> dict[str, Any]:
    window = look.window
    return {
        "window": window.name,
        "first": window.first,
        "last": window.last,
        "n": len(window.arrivals),
        "look": look.number,
        "level": look.level,
        "note": look.note,
        "groups": {
            name: {
                "p": group.p,
                "p_holm": group.p_holm,
                "alarm": group.alarm,
                "checks": len(group.here),
                "window": [_check(c) for c in _foremost(group.here)],
                "so_far": [_check(c) for c in _foremost(group.so_far)],
            }
            for name, group in look.groups.items()
        },
    }


def _foremost(checks: Sequence[Compared]) -> list[Compared]:
    ordered = sorted(checks, key=lambda c: 2.0 if c.p is None else c.p)
    return ordered[:_MOST_CHECKS]


def _check(check: Compared) -> dict[str, Any]:
    psi = check.psi
    shown = None if psi is None else {**asdict(psi), "corrected": psi.corrected, "size": psi.size}
    return {**asdict(check), "psi": shown}


def _write(folder: Path, result: Mapping[str, Any], *, overwrite: bool) -> Path:
    """Write monitor.json and the page. Raises ConfigError if the folder has those of another bundle or plan."""
    from kras_plugins.report.monitor import write_monitor

    make_folder(folder)
    if (folder / JSON).is_file() and not overwrite:
        before = read_json(folder / JSON)
        same = [before.get(key) == result[key] for key in ("bundle_digest", "plan")]
        if not all(same):
            what = "plan" if same[0] else "bundle"
            raise ConfigError(
                f"{folder} contains {JSON} of another {what}",
                "choose another --out, or use --overwrite; changing a plan after a look voids its false-alarm rate",
            )
    write_json(folder / JSON, result)
    write_monitor(folder / PAGE, result)
    return folder


def _finite(value: Any) -> Any:
    """JSON values with null for what is not a finite number."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
