"""What can be predicted: the label columns that `kras cohort labels` makes, and the display name of each."""

from __future__ import annotations

TARGETS = {
    "g12c": "KRAS G12C",
    "g12d": "KRAS G12D",
    "g12v": "KRAS G12V",
    "g13": "KRAS G13 mutation",
    "q61": "KRAS Q61 mutation",
    "other_kras": "KRAS other driver mutation",
    "kras_driver": "KRAS driver mutation",
    "kras_any_nonsilent": "KRAS non-silent mutation",
    "kras_protein_changing": "KRAS protein-changing mutation",
}
"""Display names by column. Any other column of 0 and 1 can also be a target, shown by its own name."""

BEYOND_G12C = ("g12d", "g12v", "g13", "q61", "other_kras")
CLASSES = ("g12c", *BEYOND_G12C)
"""Label columns to one of which each driver belongs (`variants.driver_class`)."""


def target_label(target: str) -> str:
    """The display name of a target column of the cohort."""
    return TARGETS.get(target, target or "target not stated")
