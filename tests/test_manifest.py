"""The manifest tells all but secrets."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from kras_plugins.host.manager import discover
from kras_plugins.manifest import build_manifest


def test_no_secret_of_command_line_or_settings_is_written() -> None:
    words = ["kras", "run", "-o", "backend.x.token=hunter2", "--option=backend.x.api_key=hunter2", "--folds=3"]
    manifest = build_manifest(
        command=words,
        registry=discover(),
        config={"options": {"backend": {"x": {"token": "hunter2", "url": "https://host"}}}},
        began=datetime.now(UTC),
        timings={},
        failures=[],
        facts={},
    )
    text = json.dumps(manifest)
    assert "hunter2" not in text
    assert "https://host" in text
    assert "--folds=3" in manifest["command"]
