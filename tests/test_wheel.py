"""A built wheel behaves like the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from cohorts import kras_process

ROOT = Path(__file__).resolve().parents[1]


def test_a_wheel_holds_every_plugin_and_template_and_lists_what_the_checkout_lists(tmp_path: Path) -> None:
    def run(*words: str, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    # hatchling builds the current folder; its output goes elsewhere
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    target = tmp_path / "installed"
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    installed = {"PYTHONPATH": str(target)}
    where = run(
        "-c", "import kras_plugins, kras_classifier_rf as p; print(kras_plugins.__file__, p.__file__)", **installed
    )
    assert all(path.startswith(str(target)) for path in where.split())
    listed = json.loads(run("-m", "kras_plugins.cli", "plugin", "list", "--json", **installed))
    checkout = json.loads(kras_process("plugin", "list", "--json", cwd=tmp_path, store=tmp_path / "store").stdout)
    assert listed["broken"] == []
    assert listed["plugins"] == checkout["plugins"]
    host = ROOT / "kras_plugins"
    templates = [f.relative_to(host) for f in host.glob("*/templates/**/*") if f.is_file()]
    assert len({template.parts[0] for template in templates}) > 1
    static = [f.relative_to(host) for f in host.glob("*/static/*")]
    assert "openseadragon.LICENSE.txt" in {file.name for file in static}
    assert [f for f in templates + static if not (target / "kras_plugins" / f).is_file()] == []
