"""Print what a study reports on stderr, without progress."""

from __future__ import annotations

from kras_plugins.cli.console import debugging, escape, show_trace, stderr
from kras_plugins.errors import KrasError
from kras_plugins.study.notify import Silent
from kras_plugins.urls import without_credentials


class Told(Silent):
    """A Notify that prints what a study reports, and no progress."""

    def note(self, text: str) -> None:
        """Print a note."""
        head, colon, rest = text.partition(": ")
        if colon and head == "demonstration":
            stderr().print(f"[bold yellow]demonstration:[/] {escape(rest)}")
        else:
            stderr().print(f"[yellow]note:[/] {escape(text)}")

    def warn(self, text: str, trace: str = "") -> None:
        """Print a warning."""
        stderr().print(f"[yellow]{escape(text)}[/]")
        if trace and debugging():
            stderr().print(without_credentials(trace), markup=False)

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        """Report why a slide was set aside."""
        if failure is not None:
            stderr().print(f"[yellow]set aside {escape(slide_id)}:[/] {escape(str(failure))}")
            show_trace(failure)
