"""`kras bundle`: what is in a bundle, who made it, and keys to sign it with."""

from __future__ import annotations

from kras_plugins.cli import bundle_keygen, bundle_show, bundle_sign, bundle_verify
from kras_plugins.cli.words import Commands

app = Commands("Show, verify and sign bundles.")
app.add("show", bundle_show.show)
app.add("verify", bundle_verify.verify)
app.add("sign", bundle_sign.sign)
app.add("keygen", bundle_keygen.keygen)
