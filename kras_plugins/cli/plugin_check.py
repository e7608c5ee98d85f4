"""`kras plugin check`: whether a plug-in does what the host relies on, in a process that may hang or crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import escape, print_json, stderr, stdout
from kras_plugins.cli.options import AsJson, ConfigFile, Overrides
from kras_plugins.errors import ConfigError, PluginError
from kras_plugins.files.regular import regular
from kras_plugins.host.config import load_config

if TYPE_CHECKING:
    from kras_plugins.testing.checks.run import Outcome

MARKS = {"passed": "[green]✓[/]", "failed": "[bold red]✗[/]", "skipped": "[dim]skip[/]", "known": "[yellow]known[/]"}


@command
def check_plugin(
    target: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="`name`, `kind:name`, a Python file or an importable module")
    ],
    deadline: Annotated[float, typer.Option(min=0.1, help="seconds that one check may take")] = 300.0,
    known: Annotated[
        list[str] | None,
        typer.Option("--known", metavar="CHECK=REASON", help="a check that is known to fail, and why"),
    ] = None,
    sample: Annotated[
        list[Path] | None, typer.Option("--sample", help="a file to read, for a reader or a plug-in that loads results")
    ] = None,
    triton: Annotated[str, typer.Option(metavar="HOST:PORT", help="a server that has its models")] = "",
    config: ConfigFile = None,
    option: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Check that a plug-in does what the host relies on.

    Ends with exit code 1 if a check fails.
    """
    from kras_plugins.testing.checks.supervise import Request
    from kras_plugins.testing.checks.supervise import check_plugin as check

    settings = load_config(config, option or ())
    options = {f"{kind}:{name}": values for kind, named in settings.options.items() for name, values in named.items()}
    asked = [":".join(o.split(".")[:2]) for o in option or ()]
    reasons = _reasons(known or ())
    absent = [str(s) for s in sample or () if not s.exists()]
    if absent:
        raise ConfigError(f"--sample {absent[0]}: no such file", "give the path of a file that the plug-in reads")
    for s in sample or ():
        if not s.is_dir():  # for some readers a slide is a folder
            regular(s)
    request = Request(
        target=target, options=options, asked=asked, samples=[str(s.resolve()) for s in sample or ()], triton=triton
    )
    with stderr().status(f"checking {target}") as status:
        outcomes = check(
            request, deadline, lambda o, done, of: status.update(f"{o.subject}: {done} of {of} checks, {o.check}")
        )
    outcomes = [_marked(o, reasons) for o in outcomes]
    unused = sorted(set(reasons) - {n for o in outcomes for n in (o.check, f"{o.subject}/{o.check}")})
    if unused:
        names = ", ".join(dict.fromkeys(o.check for o in outcomes))
        raise ConfigError(f"--known {unused[0]}: there is no such check", f"checks: {names}")
    counts = Counter(str(o.status) for o in outcomes)
    if as_json:
        print_json({"target": target, **{s: counts[s] for s in MARKS}, "checks": [asdict(o) for o in outcomes]})
    else:
        _print(outcomes)
        stdout().print(f"{escape(target)}: {', '.join(f'{counts[s]} {s}' for s in MARKS if counts[s])}", soft_wrap=True)
    failed = [o for o in outcomes if o.status == "failed"]
    if failed:
        names = ", ".join(dict.fromkeys(o.check for o in failed))
        raise PluginError(
            f"{target}: {len(failed)} of {len(outcomes)} checks failed: {names}",
            "above, each states what was expected and which line requires it; see docs/how-to/conformance.md",
        )


def _reasons(known: Sequence[str]) -> dict[str, str]:
    found = {}
    for mark in known:
        name, _, reason = mark.partition("=")
        if not name.strip() or not reason.strip():
            raise ConfigError(f"--known {mark}: not of the form CHECK=REASON", 'for example --known batch_size="why"')
        found[name.strip()] = reason.strip()
    return found


def _marked(outcome: Outcome, reasons: Mapping[str, str]) -> Outcome:
    """A known failure is reported as such; a mark on a check that passes is a failure, so that it is removed."""
    reason = reasons.get(f"{outcome.subject}/{outcome.check}") or reasons.get(outcome.check)
    if reason is None or outcome.status == "skipped":
        return outcome
    if outcome.status == "failed":
        return replace(outcome, status="known", reason=reason)
    return replace(
        outcome, status="failed", expected=f"the known failure ({reason})", came="a pass: remove the mark",
        says="--known",
    )  # fmt: skip


def _print(outcomes: Sequence[Outcome]) -> None:
    from rich.table import Table

    table, above = Table(box=None, show_header=False, padding=(0, 1)), ""
    for o in outcomes:
        if o.subject != above:
            table.add_row("", f"[bold]{escape(o.subject)}[/]", "")
            above = o.subject
        what = escape(o.what)
        if o.status == "failed":
            what += f"\n[red]expected: {escape(o.expected)}\ncame: {escape(o.came)}[/]\n[dim]{escape(o.says)}[/]"
            what += f"\n[dim]{escape(o.trace)}[/]" if o.trace else ""
        elif o.reason:
            what = f"[dim]{escape(o.reason)}[/]"
        table.add_row(MARKS[o.status], o.check, what)
    stdout().print(table)
