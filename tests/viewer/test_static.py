"""What the viewer's pages load."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

STATIC = Path(__file__).resolve().parents[2] / "kras_plugins" / "viewer" / "static"


def test_openseadragon_is_the_file_that_npm_has_and_its_license_is_beside_it() -> None:
    """`make openseadragon` writes both, and the digests; an edit by hand shows here."""
    digests = dict(line.split()[::-1] for line in (STATIC / "openseadragon.sha256").read_text().splitlines())
    assert digests.keys() == {"openseadragon.min.js", "openseadragon.LICENSE.txt"}
    assert {name: hashlib.sha256((STATIC / name).read_bytes()).hexdigest() for name in digests} == digests
    assert (STATIC / "openseadragon.min.js").read_text(encoding="utf-8").startswith("//! openseadragon 6.")
    assert "Redistribution and use" in (STATIC / "openseadragon.LICENSE.txt").read_text(encoding="utf-8")


def test_our_scripts_import_what_exists_write_no_markup_and_name_no_other_server() -> None:
    ours = [file for file in STATIC.glob("*.js") if not file.name.startswith("openseadragon")]
    assert len(ours) > 5
    for file in ours:
        text = file.read_text(encoding="utf-8")
        for names, other in re.findall(r'import \{([^}]+)\} from "\./([^"]+)"', text):
            exported = re.findall(r"^export (?:async )?(?:function|const) (\w+)", (STATIC / other).read_text(), re.M)
            assert {name.strip() for name in names.split(",")} <= set(exported), f"{file.name}: {other}"
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|https?://", text), (
            file.name
        )
