"""`kras bundle sign`: say who made a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson, Bundle


@command
def sign(
    bundle: Bundle,
    key: Annotated[Path, typer.Option(metavar="KEY", help="private key that `kras bundle keygen` made")],
    as_json: AsJson = False,
) -> None:
    """Sign a bundle with your private key.

    The signature covers every file and changes no digest; an earlier signature is replaced.
    """
    from kras_plugins.learning.signature import sign as signed

    made = signed(bundle, key)
    if as_json:
        print_json({"bundle": str(bundle), "key": made.key, "trusted": made.trusted})
    else:
        stdout().print(f"{bundle}: signed with key {made.key}", markup=False)
