"""What a check of a cohort finds: how bad it is, whom it concerns, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kras_plugins.cohort.numbers import shown

Severity = Literal["error", "warning", "note"]
_SHOWN = 5  # of `who`, in a sentence
ORDER: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found: `who` names patients, slides, sites or columns, `do` says what to do about it."""

    severity: Severity
    what: str
    who: tuple[str, ...] = ()
    do: str = ""

    @property
    def told(self) -> str:
        """The finding as sentences."""
        who = f": {shown(self.who, _SHOWN)}" if self.who else ""
        return f"{self.what}{who}. {self.do[:1].upper()}{self.do[1:]}."


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes."""
    return sorted(findings, key=lambda one: ORDER.index(one.severity))


def as_json(findings: Sequence[Finding]) -> list[Mapping[str, Any]]:
    """Findings as JSON values."""
    return [{"severity": f.severity, "what": f.what, "who": list(f.who), "do": f.do} for f in findings]
