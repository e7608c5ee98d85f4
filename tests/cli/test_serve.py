"""`kras serve` as a process: it starts, takes slides, scores them, and ends on request."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cohorts import draw_tables
from served import arrive, small_bundle
from typer.testing import CliRunner

from kras_plugins.cli.app import app

SERVE = [sys.executable, "-m", "kras_plugins.cli", "serve"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of features, and a bundle on them."""
    folder = tmp_path_factory.mktemp("serve")
    (folder / "tables").mkdir()
    draw_tables(folder / "tables")
    small_bundle(folder / "tables", folder)
    return folder


@contextmanager
def serving(home: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service that runs, and the address that it printed."""
    tables = [word for name in ("LUAD", "LUSC") for word in ("--profile-table", str(home / "tables" / f"{name}.csv"))]
    words = [*SERVE, str(home / "out" / "bundle"), "--port", "0", "--data", str(home / "data"), *tables, *more]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home,
        env={**os.environ, "KRAS_CACHE": str(home / "store")},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def kras(*words: str, **env: str) -> Any:
    return CliRunner().invoke(app, ["serve", *words], env=env)


def test_a_service_scores_what_is_submitted_and_what_arrives_and_ends_when_told_to(home: Path) -> None:
    root = home / "slides"
    with serving(home, "--roots", str(root), "--watch", str(home / "scanner")) as (process, address):
        url = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/login\?token=kras_[\w-]{43}", address)
        assert url is not None, process.communicate()
        made = kras("token", "new", "scanner", "--scope", "submit", "--scope", "read", "--data", str(home / "data"))
        assert made.exit_code == 0, made.output
        secret = made.stdout.strip()
        slide = str(arrive(root, 1))
        sent = kras("submit", slide, "--patient", "Jane Doe", "--to", url[1], "--json", KRAS_SERVE_TOKEN=secret)
        assert sent.exit_code == 0, sent.output
        case = json.loads(sent.stdout)
        refused = kras("submit", "/etc/passwd", "--to", url[1], KRAS_SERVE_TOKEN=secret)
        assert refused.exit_code == 2 and "not below a folder" in refused.output
        uploaded = arrive(home / "here", 2)
        token = home / "token"
        token.write_text(secret)
        words = ("submit", "--upload", str(uploaded), "--patient", "John", "--to", url[1], "--token-file", str(token))
        assert kras(*words).exit_code == 0
        with httpx.Client(base_url=url[1], headers={"Authorization": f"Bearer {secret}"}, trust_env=False) as client:
            states = []
            while not states or set(states) & {"queued", "running"}:
                time.sleep(0.2)
                states = [one["state"] for one in client.get("/api/v1/cases", timeout=60).json()["cases"]]
            assert len(states) == 2 and "failed" not in states
            assert client.get(f"/api/v1/cases/{case['id']}/result", timeout=60).status_code == 200
        listed = kras("token", "list", "--data", str(home / "data"))
        assert "scanner: read, submit" in listed.output and secret not in listed.output
        checked = kras("audit", "--data", str(home / "data"))
        assert checked.exit_code == 0 and "intact" in checked.output
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "Traceback" not in said and "kras_" not in said and "Jane" not in said


def test_a_port_that_is_taken_and_a_folder_that_is_no_bundle_are_one_line(home: Path) -> None:
    none = kras(str(home), "--data", str(home / "other"))
    assert none.exit_code == 2 and "not a bundle" in none.output
    with serving(home) as (_, address):
        port = address.split(":")[2].split("/")[0]
        taken = kras(str(home / "out" / "bundle"), "--data", str(home / "other"), "--port", port)
    assert taken.exit_code == 1 and f"port {port} cannot be used" in taken.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--demo", "bundle"), "name a bundle, or --demo"),
        (("bundle", "--host", "0.0.0.0"), "no name is set under which they do"),
        (("start",), "name a bundle, or --demo"),
        (("submit", "a.svs", "--to", "http://slides.example.org"), "no token"),
        (("token", "new", "a/b"), "the name of a token"),
        (("token", "new", "a", "--scope", "all"), "not known"),
        (("token", "revoke", "1"), "there is no token"),
    ],
)
def test_what_cannot_be_meant_is_one_line_with_a_hint(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = kras(*words, *(("--data", str(tmp_path)) if words[0] == "token" else ()), KRAS_SERVE_TOKEN="")
    assert done.exit_code in (1, 2)
    assert said in done.output and "hint:" in done.output


def test_a_token_is_never_sent_for_all_to_read() -> None:
    done = kras("submit", "a.svs", "--to", "http://slides.example.org", KRAS_SERVE_TOKEN="kras_secret")
    assert done.exit_code == 2 and "https://" in done.output and "kras_secret" not in done.output


def test_a_token_is_revoked_by_its_id(tmp_path: Path) -> None:
    assert kras("token", "new", "a", "--data", str(tmp_path)).exit_code == 0
    (one,) = json.loads(kras("token", "list", "--json", "--data", str(tmp_path)).stdout)
    assert one["scopes"] == ["read"] and one["revoked"] is None
    assert kras("token", "revoke", one["id"], "--data", str(tmp_path)).exit_code == 0
    assert json.loads(kras("token", "list", "--json", "--data", str(tmp_path)).stdout)[0]["revoked"]


def test_without_its_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kras_plugins.cli.serve_start.NEEDED", ("fastapi", "no_such_package"))
    done = kras("bundle")
    assert done.exit_code == 1
    assert "not installed: no_such_package" in done.output and 'pip install "kras[service]"' in done.output
