"""`kras serve submit`: slides to a service, by their paths and addresses, or sent in pieces."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stderr, stdout
from kras_plugins.cli.options import AsJson
from kras_plugins.errors import UsageError

TOKEN = "KRAS_SERVE_TOKEN"


@command
def submit(
    slides: Annotated[list[str], typer.Argument(metavar="SLIDE", help="paths or addresses, as the service sees them")],
    patient: Annotated[str | None, typer.Option(help="whose slides these are; not needed for a single slide")] = None,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="larger is earlier")] = 0,
    upload: Annotated[
        bool, typer.Option("--upload", help="send files from this machine; resumes after an interruption")
    ] = False,
    to: Annotated[str, typer.Option(metavar="URL", help="where the service is")] = "http://127.0.0.1:8700",
    token_file: Annotated[Path | None, typer.Option(help=f"file with the token; else {TOKEN} contains it")] = None,
    as_json: AsJson = False,
) -> None:
    """Submit the slides of one patient to a service.

    The same slides again are the same case; slides added later make a new version.
    """
    from kras_plugins.files.regular import SETTINGS, read_text
    from kras_plugins.service.client import Client

    token = read_text(token_file, SETTINGS).strip() if token_file is not None else os.environ.get(TOKEN, "")
    if not token:
        raise UsageError("no token", f"make one with `kras serve token new`, and give --token-file, or {TOKEN}")
    with Client(to, token) as client:
        named = []
        for slide in slides:
            if upload:
                with stderr().status(f"sending {Path(slide).name}"):
                    named.append({"upload": client.send(Path(slide))})
            elif "://" in slide:
                named.append({"url": slide})
            else:
                named.append({"path": os.path.abspath(slide)})
        case = client.submit(named, patient, priority)
    if as_json:
        print_json(case)
    else:
        stdout().print(f"{case['id']}  {case['patient']}: {case['state']}", markup=False)
