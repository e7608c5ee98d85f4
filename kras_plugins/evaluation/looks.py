"""Repeated looks: windows of patients, and alarms with a bounded chance of a false one over all looks together.

There are three corrections, each valid under any dependence, since every look compares with the same training patients.
Within a group (three stains, dozens of features; a window and all patients so far) the smallest p counts, times the
number of checks (Bonferroni). Over groups, Holm's step-down applies (1979, Scand J Stat 6:65). Over looks, look w = 1,
2, … has the level α / (w (w + 1)); these sum to α however many looks there will be (spending of α, after Lan & DeMets
1983, Biometrika 70:659, with the sum of levels as the bound). So without drift the chance of any alarm, ever, is at
most α.

Holm and not Benjamini & Yekutieli (2001): each alarm stops somebody's work, so the chance of any false alarm must be
bounded, not the share of false ones among many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Literal, get_args

from kras_plugins.evaluation.auroc import holm
from kras_plugins.evaluation.drift import FEWEST, Compared

if TYPE_CHECKING:
    from kras_plugins.evaluation.arrivals import Arrival

Calendar = Literal["day", "week", "month", "quarter"]
Comparison = Callable[[Sequence["Arrival"]], Mapping[str, Sequence[Compared]]]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Patients that are examined together; `first` and `last`: their days. `open`: more may come, no look yet."""

    name: str
    first: str
    last: str
    arrivals: tuple[Arrival, ...]
    open: bool = False


@dataclass(frozen=True, kw_only=True)
class Group:
    """The checks of one group at one look, of the window and, from the second look on, of all patients `so_far`.

    `p`: of the group; `p_holm`: over all groups of the look, None if nothing could be compared.
    """

    name: str
    here: tuple[Compared, ...]
    so_far: tuple[Compared, ...]
    p: float | None = None
    p_holm: float | None = None
    alarm: bool = False

    @property
    def moved(self) -> list[Compared]:
        """The checks with a p, the smallest first, each once, from the window or all so far."""
        best: dict[str, Compared] = {}
        for check in sorted((c for c in (*self.here, *self.so_far) if c.p is not None), key=lambda c: c.p or 0.0):
            best.setdefault(check.name, check)
        return list(best.values())


@dataclass(frozen=True, kw_only=True)
class Look:
    """One window and what was found there.

    `number`: from 1, None while there is no look yet, as `note` then explains; `level`: the part of α that this look
    uses.
    """

    window: Window
    number: int | None = None
    level: float | None = None
    note: str = ""
    groups: Mapping[str, Group] = field(default_factory=dict)


def spent(alpha: float, look: int) -> float:
    """The part of α that a look, counted from 1, may use; the sum over all looks is α."""
    return alpha / (look * (look + 1))


def windows(
    arrivals: Sequence[Arrival],
    rule: int | Calendar,
    now: datetime,
    *,
    fewest: int = FEWEST,
    by: Literal["when", "labeled"] = "when",
) -> list[Window]:
    """Patients in windows, in the order of their time (`by`): a fixed number each, or a day, week, month or quarter.

    A window of the calendar that ended with fewer than `fewest` patients is merged into the next. The last is open
    until it is full, or has ended before `now`. Which patients a window contains does not depend on their values.
    """
    ordered = sorted(arrivals, key=lambda a: getattr(a, by))
    if isinstance(rule, int):
        parts = [tuple(ordered[i : i + rule]) for i in range(0, len(ordered), rule)]
        return [
            Window(
                name=f"patients {1 + i * rule}–{i * rule + len(part)}",
                first=getattr(part[0], by)[:10],
                last=getattr(part[-1], by)[:10],
                arrivals=part,
                open=len(part) < rule,
            )
            for i, part in enumerate(parts)
        ]
    found: list[Window] = []
    going: list[Arrival] = []
    for i, one in enumerate(ordered):
        going.append(one)
        period = _period(_day(getattr(one, by)), rule)
        more = i + 1 < len(ordered)
        if more and _period(_day(getattr(ordered[i + 1], by)), rule) == period:
            continue
        ended = more or _end(_day(getattr(one, by)), rule) <= now.date()
        if (ended and len(going) >= fewest) or not more:
            begin = _period(_day(getattr(going[0], by)), rule)
            found.append(
                Window(
                    name=period if begin == period else f"{begin} to {period}",
                    first=getattr(going[0], by)[:10],
                    last=getattr(one, by)[:10],
                    arrivals=tuple(going),
                    open=not (ended and len(going) >= fewest),
                )
            )
            going = []
    return found


def look_at(found: Sequence[Window], compare: Comparison, alpha: float, fewest: int = FEWEST) -> list[Look]:
    """A look at each window that is not open: what `compare` finds in it, and in all patients up to its end.

    If it finds no group to compare, there is no look, and nothing is spent.
    """
    looks: list[Look] = []
    before: list[Arrival] = []
    number = 0
    for window in found:
        n = len(window.arrivals)
        if window.open:
            note = f"too few yet: {n} of {fewest}" if n < fewest else f"{n} patients so far, not ended"
            looks.append(Look(window=window, note=note))
            continue
        here = compare(window.arrivals)
        if not here:
            looks.append(Look(window=window, note="nothing can be compared"))
            continue
        number += 1
        so_far = compare([*before, *window.arrivals]) if before else {}
        before += window.arrivals
        groups = {name: _group(name, checks, so_far.get(name, ())) for name, checks in here.items()}
        looks.append(
            Look(
                window=window,
                number=number,
                level=spent(alpha, number),
                groups=_decided(groups, spent(alpha, number)),
            )
        )
    return looks


def alarms(looks: Sequence[Look]) -> dict[str, Look]:
    """By group, the first look at which it gave an alarm."""
    found: dict[str, Look] = {}
    for look in looks:
        for name, group in look.groups.items():
            if group.alarm:
                found.setdefault(name, look)
    return found


def _group(name: str, here: Sequence[Compared], so_far: Sequence[Compared]) -> Group:
    known = [check.p for check in (*here, *so_far) if check.p is not None]
    p = min(1.0, len(known) * min(known)) if known else None
    return Group(name=name, here=tuple(here), so_far=tuple(so_far), p=p)


def _decided(groups: Mapping[str, Group], level: float) -> dict[str, Group]:
    known = {name: group.p for name, group in groups.items() if group.p is not None}
    adjusted = dict(zip(known, holm(list(known.values())), strict=True))
    return {
        name: replace(group, p_holm=adjusted.get(name), alarm=name in adjusted and adjusted[name] <= level)
        for name, group in groups.items()
    }


def _day(when: str) -> date:
    return date.fromisoformat(when[:10])


def _period(day: date, rule: Calendar) -> str:
    if rule == "day":
        return day.isoformat()
    if rule == "week":
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02d}"
    return f"{day:%Y-%m}" if rule == "month" else f"{day.year}-Q{(day.month + 2) // 3}"


def _end(day: date, rule: Calendar) -> date:
    """The first day after the period of a day."""
    if rule == "day":
        return day + timedelta(days=1)
    if rule == "week":
        return day + timedelta(days=8 - day.isoweekday())
    last = day.month if rule == "month" else (day.month + 2) // 3 * 3
    return date(day.year + last // 12, last % 12 + 1, 1)


CALENDAR: tuple[str, ...] = get_args(Calendar)
