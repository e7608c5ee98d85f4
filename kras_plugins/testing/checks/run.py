"""Run one check of one candidate and report the outcome."""

from __future__ import annotations

import contextlib
import io
import time
import traceback
from dataclasses import dataclass, replace
from typing import Literal

from kras_plugins.testing.checks.candidate import Candidate
from kras_plugins.testing.checks.outcome import Failed, NotApplicable, told
from kras_plugins.testing.checks.rule import Check

STDOUT_RULE = 'kras_plugins/cli/options.py: "machine-readable result on stdout; progress stays on stderr"'


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one check. `reason`: why it was skipped; `trace`: where an unexpected exception came from."""

    subject: str
    check: str
    what: str
    status: Literal["passed", "failed", "skipped", "known"]
    expected: str = ""
    came: str = ""
    says: str = ""
    reason: str = ""
    trace: str = ""
    seconds: float = 0.0

    @property
    def message(self) -> str:
        """The whole outcome as text for people."""
        if self.status == "skipped":
            return self.reason
        lines = [f"{self.check} of {self.subject}: {self.what}"]
        if self.expected:
            lines += [f"  expected: {self.expected}", f"  came:     {self.came}", f"  asked in: {self.says}"]
        return "\n".join(lines + ([self.trace] if self.trace else []))


def run_check(check: Check, candidate: Candidate) -> Outcome:
    """Run a check; whatever it raises, or writes to stdout, becomes its outcome."""
    began, noise = time.monotonic(), io.StringIO()
    found: dict[str, str] = {"status": "passed"}
    try:
        with contextlib.redirect_stdout(noise):
            check.run(candidate)
    except NotApplicable as e:
        found = {"status": "skipped", "reason": str(e)}
    except Failed as e:
        found = _failed(check, e.expected, e.came)
    except (Exception, SystemExit) as e:  # noqa: BLE001 - a plug-in may fail in any way
        found = _failed(check, "no exception", told(e)) | {"trace": traceback.format_exc()}
    facts = {"subject": candidate.id, "check": check.name, "what": check.what, "seconds": time.monotonic() - began}
    return noisy(Outcome(**facts, **found), noise.getvalue())  # type: ignore[arg-type]


def noisy(outcome: Outcome, noise: str) -> Outcome:
    """The outcome given `noise`, what was written to stdout meanwhile: a failure, unless there was no noise."""
    if not noise or outcome.status == "failed":
        return outcome
    came = f"{noise.strip()[:200]!r}"
    return replace(outcome, status="failed", expected="nothing on stdout", came=came, says=STDOUT_RULE)


def _failed(check: Check, expected: str, came: str) -> dict[str, str]:
    return {"status": "failed", "expected": expected, "came": came, "says": check.says}
