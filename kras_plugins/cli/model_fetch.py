"""`kras model fetch`: weights from a hub, once their license is accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import escape, stderr, stdout
from kras_plugins.cli.options import Plugins
from kras_plugins.errors import ConfigError


@command
def fetch_models(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="from `kras model list`; the configured models if none is given"),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept-license", help="the licenses were read and are accepted (for scripts)")
    ] = False,
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="download from this hub instead of HF_ENDPOINT")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="commit, tag or branch instead of the preset's")] = None,
    plugins: Plugins = Plugins(),
) -> None:
    """Download weights, once their license is accepted.

    The license is shown first and must be accepted once. An interrupted download is resumed.
    """
    from kras_plugins.host.catalog import weights_of
    from kras_plugins.models.hub import fetch, has_consent, page, record_consent
    from kras_plugins.models.weights import is_seeded

    session = plugins.session()
    for name, chosen in weights_of(session.registry, session.config, session.notify.warn, names or ()).items():
        weights = replace(chosen, revision=revision) if revision else chosen
        if is_seeded(weights):
            continue
        where = page(weights, mirror)
        terms = f"license: {weights.licence}" + (f"  (text and access: {where})" if where else "")
        lines = (f"[bold]{name}[/]: {escape(weights.source)}", *map(escape, (terms, weights.citation)))
        stderr().print("\n  ".join(line for line in lines if line))
        if weights.source.startswith("hf:") and not has_consent(weights):
            if not accept and not typer.confirm("Accept this license?", err=True):
                raise ConfigError(f"the license of {weights.source} was not accepted", "nothing was downloaded")
            record_consent(weights)
        stdout().print(str(fetch(weights, mirror)), markup=False, soft_wrap=True)
        if revision:
            stderr().print(f"use it with -o extractor.vit.revision={escape(revision)}")
