"""`kras bundle keygen`: a pair of keys, one to sign with and one to give away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson


@command
def keygen(
    key: Annotated[
        Path, typer.Argument(metavar="KEY", help="file for the private key; the public key goes to KEY.pub")
    ],
    as_json: AsJson = False,
) -> None:
    """Make a pair of keys to sign bundles with.

    Keep the private key to yourself. Give KEY.pub to those who use your bundles, and have them compare its sha256
    with you.
    """
    from kras_plugins.learning.signature import key_folder, make_key, public_of

    name = make_key(key)
    if as_json:
        print_json({"private": str(key), "public": str(public_of(key)), "sha256": name, "trusted": str(key_folder())})
    else:
        stdout().print(f"{public_of(key)}: sha256 {name}", markup=False)
        stdout().print(f"to trust it on a machine, copy it into {key_folder()}", markup=False)
