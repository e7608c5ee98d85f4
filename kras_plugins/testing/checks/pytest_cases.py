"""A plug-in's whole test file: one pytest case for each record and check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from kras_plugins.testing.checks.candidate import Candidate, Given, candidates
from kras_plugins.testing.checks.catalog import CHECKS, checks_of
from kras_plugins.testing.checks.rule import Check
from kras_plugins.testing.checks.run import run_check


def conformance(
    module: ModuleType,
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    samples: Mapping[str, Sequence[Any]] | None = None,
    known_failures: Mapping[str, str] | None = None,
    triton: str = "",
) -> Callable[..., None]:
    """A pytest test of all that the host relies on in a plug-in: `test_contract = conformance(my_encoder)`.

    `options`, `samples`: by `kind:name`, see docs/how-to/conformance.md. `known_failures`: check, or `kind:name/check`,
    to the reason why it is known to fail; such a case is an expected failure, and fails once it passes. `triton`:
    HOST:PORT of a server with the plug-in's models. Raises ValueError for a check or record that does not exist.
    """
    import pytest

    known = dict(known_failures or {})
    cases = [
        (candidate, check)
        for candidate in candidates(module, Given(options=options or {}, samples=samples or {}, triton=triton))
        for check in checks_of(candidate)
    ]
    refuse_unknown(known, cases)

    @pytest.mark.parametrize(("candidate", "check"), [pytest.param(s, c, id=f"{s.id}-{c.name}") for s, c in cases])
    def test_contract(candidate: Candidate, check: Check) -> None:
        __tracebackhide__ = True
        outcome = run_check(check, candidate)
        reason = reason_of(known, candidate.id, check.name)
        if outcome.status == "skipped":
            pytest.skip(outcome.reason)
        if reason and outcome.status == "failed":
            pytest.xfail(f"{reason} ({outcome.came})")
        if reason:
            pytest.fail(f"{check.name} of {candidate.id} passes now: remove the mark ({reason})", pytrace=False)
        if outcome.status == "failed":
            pytest.fail(outcome.message, pytrace=False)

    return test_contract


def reason_of(known: Mapping[str, str], candidate: str, check: str) -> str:
    """Why a check is known to fail for a candidate; empty if it is not."""
    return known.get(f"{candidate}/{check}") or known.get(check, "")


def refuse_unknown(known: Mapping[str, str], cases: Sequence[tuple[Candidate, Check]]) -> None:
    """Raise ValueError for a mark that no case would ever look at, or one without a reason."""
    names = {c.name for _, c in cases} | {f"{s.id}/{c.name}" for s, c in cases}
    for name, reason in known.items():
        if name not in names:
            there = "it has no such check" if name in {c.name for c in CHECKS} else "there is no such check"
            raise ValueError(f"known failure {name!r}: {there}; checks here: {', '.join(sorted(names))}")
        if not reason.strip():
            raise ValueError(f"known failure {name!r}: give the reason")
