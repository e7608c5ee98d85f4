"""How many micrometers wide a slide's pixels are, and which source says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kras_plugins.contracts.reader import SlideSource
from kras_plugins.errors import SlideError
from kras_plugins.urls import Url

PLAUSIBLE_MPP = (0.05, 20.0)
"""Micrometers per level-0 pixel outside of which a slide is taken to be wrongly scaled."""
MPP_CONFLICT = 0.05
"""Relative difference between the cohort's and the file's mpp that is worth a warning."""
POWER_CONFLICT = 1.5
"""Factor between the mpp and the value expected from the objective power (10 µm / power) that is worth a warning."""


def find_mpp(
    stated: float | None,
    source: SlideSource,
    option: float | None,
    where: Path | Url,
    reader: str,
    warnings: Sequence[str],
) -> tuple[tuple[float, float], str, tuple[str, ...]]:
    """The slide's mpp, where it comes from and what is doubtful.

    The sources, in this order: cohort (`stated`), file, option, objective power. `where` and `warnings`: what an error
    names. Raises SlideError where no source gives a plausible value.
    """
    own, power = source.mpp, source.objective_power
    doubts: list[str] = []
    if stated is not None:
        mpp, origin = (stated, stated), "cohort"
        if own and max(abs(stated / one - 1) for one in own) > MPP_CONFLICT:
            doubts.append(f"the cohort says {stated:g} µm/px, the file {show(own)}; the cohort's value is used")
    elif own is not None:
        mpp, origin = own, "file"
    elif option is not None:
        mpp, origin = (option, option), "option"
    elif power:
        mpp, origin = (10 / power, 10 / power), "objective"
        doubts.append(f"mpp {mpp[0]:g} is derived from objective power {power:g}; a column `mpp` is more reliable")
    else:
        raise SlideError(
            "; ".join([f"{where}: nothing states how many micrometers wide a pixel is", *warnings]),
            f"give the cohort a column `mpp`, or the option --mpp 0.5 (-o reader.{reader}.mpp=0.5; usual values are "
            "0.5 at 20x, 0.25 at 40x), or a file that states its mpp or objective power",
        )
    low, high = PLAUSIBLE_MPP
    if not all(low <= value <= high for value in mpp):
        raise SlideError(
            f"{where}: wrongly scaled, {show(mpp)} µm per pixel by {origin}",
            f"plausible values are {low:g} to {high:g}; state the true value in the cohort's column `mpp`",
        )
    if power and not 1 / POWER_CONFLICT <= mpp[0] * power / 10 <= POWER_CONFLICT:
        doubts.append(
            f"{show(mpp)} µm/px by {origin} contradicts the magnification of {power:g} that the file states, "
            f"usually {10 / power:g} µm/px; one of them is wrong"
        )
    return mpp, origin, tuple(one for one in doubts if one not in warnings)


def show(mpp: tuple[float, float]) -> str:
    """Micrometers per pixel as people read them."""
    return f"{mpp[0]:g}" if mpp[0] == mpp[1] else f"{mpp[0]:g} x {mpp[1]:g}"
