"""`kras plugin new`: your own plug-in as a small distribution, ready to install and to change."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson
from kras_plugins.errors import ConfigError
from kras_plugins.hookspecs import KINDS
from kras_plugins.host.manager import discover


@command
def new(
    kind: Annotated[
        Literal["reader", "extractor", "profiler", "classifier", "backend"],
        typer.Argument(metavar="KIND", help=f"what it will be: {', '.join(KINDS)}"),
    ],
    name: Annotated[str, typer.Argument(help="such as my-encoder; users will ask for it as my_encoder")],
    out: Annotated[
        Path | None, typer.Option("--out", help="folder to write, new or empty [default: kras-KIND-NAME]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a plug-in of your own, as a distribution.

    One working module, its tests, README and CI.
    """
    from kras_plugins.scaffold import named, write_project

    project = named(kind, name)
    for p in discover().provided:
        if (p.kind, p.record.name) == (project.kind, project.name):
            raise ConfigError(
                f"{p.kind} {p.record.name!r} exists already, from {p.distribution} {p.version}",
                "choose another name",
            )
    folder = out or Path(project.distribution)
    written = write_project(project, folder)
    here = os.path.join(".", folder)
    commands = [f"pip install -e {shlex.quote(f'{here}[test]')}", f"python -m pytest {shlex.quote(here)}", project.use]
    if as_json:
        print_json(
            {
                "distribution": project.distribution,
                "module": project.module,
                "name": f"{project.kind}:{project.name}",
                "files": [str(file) for file in written],
                "next": commands,
            }
        )
        return
    lines = [f"{project.distribution}: {kind} {project.name!r} in module {project.module}"]
    lines += [f"  {file}" for file in written]
    lines += ["next:", *(f"  {line}" for line in commands)]
    stdout().print("\n".join(lines), soft_wrap=True, markup=False)
