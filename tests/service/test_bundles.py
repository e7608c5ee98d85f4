"""A service begins only with bundles that it can score with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from served import serving

from kras_plugins.errors import ConfigError
from kras_plugins.learning.content import CONTENT
from kras_plugins.learning.seal import SEAL, seal
from kras_plugins.service.bundles import require_usable
from kras_plugins.study.session import opened


def test_a_bundle_of_other_weights_is_refused_before_any_case_fails_with_it(
    bundle: Path, tables: Path, tmp_path: Path
) -> None:
    other = tmp_path / "bundle"
    shutil.copytree(bundle, other)
    content = json.loads((other / CONTENT).read_text())
    content["facts"]["profiler"]["models"] = {"cells": "0" * 64}
    (other / CONTENT).write_text(json.dumps(content))
    (other / SEAL).unlink()
    seal(other)
    with opened(serving(tmp_path, tables, [bundle]).study) as session:
        require_usable(session, [bundle])
        with pytest.raises(ConfigError, match="the bundle was made with cells 000000000000"):
            require_usable(session, [bundle, other])
