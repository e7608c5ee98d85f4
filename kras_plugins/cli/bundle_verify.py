"""`kras bundle verify`: whether a bundle is whole, and signed by somebody who is trusted here."""

from __future__ import annotations

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson, Bundle


@command
def verify(bundle: Bundle, as_json: AsJson = False) -> None:
    """Check that a bundle is whole and that a trusted key signed it.

    No model is loaded. Ends with exit code 1 if it is unsigned, or signed by a key that is not trusted on this machine.
    """
    from kras_plugins.learning.seal import check_seal
    from kras_plugins.learning.signature import read_signature, require_trusted

    digest = check_seal(bundle)
    signature = require_trusted(bundle, read_signature(bundle, digest))
    if as_json:
        print_json({"bundle": str(bundle), "digest": digest, "key": signature.key, "trusted": signature.trusted})
    else:
        stdout().print(f"{bundle}: whole, signed by {signature.trusted} ({signature.key})", markup=False)
