"""`--dry-run`: what would be computed and what is stored already, and the time, memory and disk that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kras_plugins.cli.console import escape, print_json, stderr, stdout

if TYPE_CHECKING:
    from kras_plugins.study.plan import Plan, SlidePlan


def print_plan(plan: Plan, *, as_json: bool) -> None:
    """One row per slide: stored, to compute, or why it would be set aside; then the sums."""
    if as_json:
        print_json(
            {
                "settings": plan.settings.described(),
                "slides": [_values(s) for s in plan.slides],
                "fits": plan.fits,
                "seconds": plan.seconds,
                "memory_bytes": plan.memory,
                "disk_bytes": plan.disk,
                "rates": dict(plan.rates),
                "notes": list(plan.notes),
            }
        )
        return
    from rich.table import Table

    table = Table("slide", "tile features", "semantic map", "tissue", box=None)
    for s in plan.slides:
        area = "" if s.mm2 is None else f"{'at most ' if s.bounded else ''}{s.mm2:.1f} mm²"
        table.add_row(escape(s.slide_id), s.bag or escape(s.error), s.map, area)
    stdout().print(table)
    then = f"; then {plan.fits} outer fits, each with its inner ones" if plan.fits else ""
    stdout().print(f"{len(plan.slides)} slides, {sum(s.computes for s in plan.slides)} to compute{then}")
    if any(s.computes for s in plan.slides):
        stdout().print(_sums(plan))
        for part, source in plan.rates:
            stdout().print(f"rate of {part}: {source}", markup=False)
    for note in plan.notes:
        stderr().print(f"[yellow]note:[/] {escape(note)}")


def _sums(plan: Plan) -> str:
    if plan.seconds is None or plan.memory is None or plan.disk is None:
        return "time, memory and disk: not known before a first slide; try one with `kras embed` or `kras profile`"
    most = "at most " if any(s.bounded for s in plan.slides) else ""
    hours, minutes = divmod(round(plan.seconds / 60), 60)
    time = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else "less than a minute"
    return f"slides take {most}{time}, {plan.memory / 1e9:.1f} GB of memory, {most}{_size(plan.disk)} of disk"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _values(s: SlidePlan) -> dict[str, object]:
    found = {"slide_id": s.slide_id, "bag": s.bag, "map": s.map, "mm2": s.mm2, "error": s.error}
    return {**{k: v for k, v in found.items() if v not in ("", None)}, **({"at_most": True} if s.bounded else {})}
