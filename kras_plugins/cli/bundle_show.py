"""`kras bundle show`: what a bundle states about itself; no model is loaded."""

from __future__ import annotations

from typing import Any

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson, Bundle


@command
def show(bundle: Bundle, as_json: AsJson = False) -> None:
    """Show what a bundle contains, and who signed it.

    Its seal is checked; no model is loaded. What it states about its training is its maker's claim.
    """
    from kras_plugins.learning.content import read_content
    from kras_plugins.learning.seal import sealed
    from kras_plugins.learning.signature import read_signature

    whole = sealed(bundle)
    content, signature = read_content(bundle, whole.files), read_signature(bundle, whole.digest)
    told: dict[str, Any] = {
        "digest": whole.digest,
        "signed by": None if signature is None else signature.key,
        "trusted as": None if signature is None else signature.trusted,
        "files": len(whole.files),
        "target": content.facts.get("target"),
        "members": [f"{m.name} ({m.plugin}, {len(m.folds)} folds)" for m in content.members],
        "fusion": content.fusion.kind,
        "features": None if content.inputs.features is None else len(content.inputs.features),
        "encoder": {name: one.encoder for name, one in content.inputs.extractors.items()} or content.inputs.encoder,
        "trained on": {k: content.provenance.get(k) for k in ("cohort", "n", "n_positive")},
        "demonstration": content.provenance.get("demonstration") or [],
    }
    if as_json:
        print_json(told)
        return
    for name, value in told.items():
        stdout().print(f"{name}: {_words(value)}", markup=False)


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_words(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "–"
    text = "–" if value is None else str(value)
    return text if text.isprintable() else ascii(text)  # text from outside must not control the terminal
