"""Weights from a hub on 127.0.0.1 that speaks what huggingface_hub needs: consent, resume, digests, access, mirrors."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kras_plugins import Weights
from kras_plugins.errors import BackendError, ConfigError
from kras_plugins.models.hub import fetch, record_consent
from kras_plugins.models.weights import digest, is_present, locate

COMMIT = "c0ffee" + "0" * 34
BYTES = bytes(range(256)) * 4000
FILES = ("model.bin", "pytorch_model.bin")


@dataclass
class Hub:
    """What the server has, how it behaves, and what was requested."""

    url: str = ""
    content: bytes = BYTES
    etag: str = hashlib.sha256(BYTES).hexdigest()
    gated: bool = False
    cut_after: int | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            hub.asked.append((self.command, self.headers.get("Range")))
            known = any(self.path.endswith(f"/resolve/{at}/{f}") for at in ("main", COMMIT) for f in FILES)
            token = self.headers.get("Authorization")
            if hub.gated and token != "Bearer let-me-in":
                return self.refuse(403 if token else 401, "GatedRepo")
            if not known:
                return self.refuse(404, "EntryNotFound" if "/main/" in self.path else "RevisionNotFound")
            first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
            content = hub.content[first:]
            self.send_response(206 if first else 200)
            self.send_header("ETag", f'"{hub.etag}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content if hub.cut_after is None else content[: hub.cut_after])
                self.close_connection = True

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A server, an empty cache, no token; HF_ENDPOINT and HF_HUB_CACHE as if set before the start."""
    from huggingface_hub import constants

    held = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(held))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    held.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", held.url)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", held.url + template[template.index("/{repo_id}") :])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setenv("KRAS_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield held
    server.shutdown()
    server.server_close()


def weights(**changes: Any) -> Weights:
    return Weights(**{"source": "hf:org/vit/model.bin", "licence": "mine", **changes})


def accepted(**changes: Any) -> Weights:
    made = weights(**changes)
    record_consent(made)
    return made


def test_weights_are_fetched_once_and_then_found_without_asking(hub: Hub) -> None:
    assert not is_present(weights())
    path = fetch(accepted())
    assert path is not None and path.read_bytes() == BYTES
    assert digest(weights()) == hub.etag
    asked = len(hub.asked)
    assert locate(weights()) == path
    assert len(hub.asked) == asked


def test_nothing_is_asked_of_the_hub_before_the_licence_is_accepted(hub: Hub) -> None:
    with pytest.raises(BackendError, match="not accepted"):
        fetch(weights())
    record_consent(weights())
    with pytest.raises(BackendError, match="not accepted"):
        fetch(weights(licence="another one now"))
    assert hub.asked == []


@pytest.mark.parametrize("text", ["no JSON", "[1, 2]"])
def test_a_damaged_list_of_licences_is_named_and_nothing_is_taken_for_accepted(hub: Hub, text: str) -> None:
    file = Path(os.environ["KRAS_CONFIG"]) / "accepted-licences.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"accepted-licences\.json: no longer a list") as e:
        fetch(weights())
    assert "delete it" in e.value.hint
    assert hub.asked == []


def test_what_an_earlier_try_left_is_not_downloaded_again(hub: Hub, tmp_path: Path) -> None:
    blobs = tmp_path / "hub" / "models--org--vit" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hub.etag}.kras-part").write_bytes(BYTES[:700_000])
    path = fetch(accepted())
    assert path is not None and path.read_bytes() == BYTES
    assert ("GET", "bytes=700000-") in hub.asked
    assert [how for how, _ in hub.asked].count("GET") == 1


def test_a_download_that_is_cut_off_keeps_its_bytes_for_the_next_try(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """huggingface_hub itself removes a partial file."""
    from huggingface_hub import constants, file_download

    def killed(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    hub.cut_after = 300_000
    wanted = accepted()
    with monkeypatch.context() as m:
        m.setattr(file_download.time, "sleep", killed)  # before it tries again
        with pytest.raises(KeyboardInterrupt):
            fetch(wanted)
    hub.cut_after = None
    path = fetch(wanted)
    assert path is not None and path.read_bytes() == BYTES
    assert ("GET", "bytes=300000-") in hub.asked


@pytest.mark.parametrize("stated", ["by the hub", "by the preset"])
def test_bytes_that_are_not_the_stated_ones_are_removed(hub: Hub, stated: str) -> None:
    if stated == "by the hub":
        hub.content = BYTES[:-1] + b"?"
    wanted = accepted(sha256="" if stated == "by the hub" else "0" * 64)
    with pytest.raises(BackendError, match=r"sha256 of the download is .*, not .* as stated") as e:
        fetch(wanted)
    assert "removed" in e.value.hint
    assert not is_present(wanted)


def test_a_file_that_was_damaged_since_is_never_used_and_can_be_fetched_anew(hub: Hub) -> None:
    path = fetch(accepted())
    assert path is not None
    path.resolve().write_bytes(BYTES[:-1] + b"?")
    with pytest.raises(BackendError, match="expected " + hub.etag) as e:
        digest(weights())
    assert "fetch it again" in e.value.hint
    with pytest.raises(BackendError, match="it was removed"):
        fetch(weights())
    again = fetch(weights())
    assert again is not None and again.read_bytes() == BYTES


def test_gated_weights_say_where_to_ask_and_come_with_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated = True
    with pytest.raises(BackendError, match="gives no access \\(401\\)") as e:
        fetch(accepted(gated=True))
    assert f"{hub.url}/org/vit" in e.value.hint and "HF_TOKEN" in e.value.hint
    monkeypatch.setenv("HF_TOKEN", "of-somebody-else")
    with pytest.raises(BackendError, match="gives no access \\(403\\)"):
        fetch(weights())
    monkeypatch.setenv("HF_TOKEN", "let-me-in")
    assert fetch(weights()) is not None


def test_a_mirror_is_asked_instead(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    elsewhere, template = "http://127.0.0.1:9", constants.HUGGINGFACE_CO_URL_TEMPLATE
    monkeypatch.setattr(constants, "ENDPOINT", elsewhere)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template.replace(hub.url, elsewhere))
    path = fetch(accepted(), mirror=hub.url)
    assert path is not None and path.read_bytes() == BYTES


def test_a_revision_is_kept_apart_from_main(hub: Hub) -> None:
    at = accepted(revision=COMMIT)
    fetch(at)
    assert is_present(at)
    assert not is_present(weights())
    with pytest.raises(BackendError, match="no revision 'v9'"):
        fetch(weights(revision="v9"))


def test_an_absent_file_is_told(hub: Hub) -> None:
    with pytest.raises(BackendError, match="no such file on the hub"):
        fetch(accepted(source="hf:org/vit/other.bin"))


def test_offline_and_unreachable_are_told_apart(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, utils

    with monkeypatch.context() as m:
        m.setattr(constants, "HF_HUB_OFFLINE", True)
        utils.close_session()
        with pytest.raises(BackendError, match="HF_HUB_OFFLINE is set"):
            fetch(accepted())
        utils.close_session()
        assert hub.asked == []
        m.setattr(constants, "HF_HUB_OFFLINE", False)
        path = fetch(weights())
        asked = len(hub.asked)
        m.setattr(constants, "HF_HUB_OFFLINE", True)
        utils.close_session()
        assert fetch(weights()) == path, "what is here needs no network"
        assert len(hub.asked) == asked
    utils.close_session()
    with pytest.raises(BackendError, match="cannot fetch .*Connect") as e:
        fetch(accepted(source="hf:org/other/model.bin"), mirror="http://127.0.0.1:9")
    assert "HF_ENDPOINT" in e.value.hint


def test_a_full_disk_is_told_and_what_came_is_kept(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import file_download

    def full(_url: str, out: Any, **_: Any) -> None:
        out.write(BYTES[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    wanted = accepted()
    with monkeypatch.context() as m:
        m.setattr(file_download, "http_get", full)
        with pytest.raises(BackendError, match="no space left") as e:
            fetch(wanted)
    assert "HF_HOME" in e.value.hint
    fetch(wanted)
    assert ("GET", "bytes=1000-") in hub.asked


def test_the_command_shows_the_licence_asks_once_and_says_where_the_file_is(hub: Hub, tmp_path: Path) -> None:
    """In a process of its own, so that HF_ENDPOINT is read as users set it."""

    def kras(*words: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        line = [sys.executable, "-m", "kras_plugins.cli", "model", *words]
        return subprocess.run(line, env=env, input=answer, capture_output=True, text=True, cwd=tmp_path, check=False)

    refused = kras("fetch", "uni", answer="n\n")
    assert (refused.returncode, hub.asked) == (1, [])
    assert "CC-BY-NC-ND-4.0" in refused.stderr and f"{hub.url}/MahmoodLab/UNI" in refused.stderr
    got = kras("fetch", "uni", answer="y\n")
    assert got.returncode == 0, got.stderr
    assert Path(got.stdout.strip().splitlines()[-1]).read_bytes() == BYTES


def test_a_row_of_the_list_says_what_is_here_and_on_what_terms(hub: Hub) -> None:
    from kras_plugins.models.listing import weights_facts

    wanted = weights(gated=True, tcga=True, parameters=21.7)
    before = weights_facts(wanted, pytest.fail)
    assert (before["present"], before["accepted"], before["sha256"], before["bytes"]) == (False, False, None, None)
    assert (before["licence"], before["gated"], before["tcga"], before["parameters"]) == ("mine", True, True, 21.7)
    record_consent(wanted)
    fetch(wanted)
    after = weights_facts(wanted, pytest.fail)
    assert (after["present"], after["accepted"], after["sha256"]) == (True, True, hub.etag)
    assert after["bytes"] == len(BYTES)


def test_the_list_names_every_encoder_with_its_terms(hub: Hub) -> None:
    from typer.testing import CliRunner

    from kras_plugins.cli.app import app

    done = CliRunner().invoke(app, ["model", "list"], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    for name in ("cells", "lunit-s16", "uni2-h", "virchow2", "h-optimus-1", "gigapath", "midnight-12k"):
        assert f" {name} " in done.output
    assert "Owkin non-commercial" in done.output
    assert hub.asked == []


def test_a_local_file_or_folder_needs_no_hub(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "snapshot"
    folder.mkdir()
    with pytest.raises(BackendError, match="no weights file"):
        locate(weights(source=str(folder)))
    (folder / "config.json").write_text("{}")
    (folder / "GPFM.pth").write_bytes(b"only one")
    assert fetch(weights(source=str(folder))) == folder / "GPFM.pth"
    (folder / "pytorch_model.bin").write_bytes(b"usual")
    (folder / "model.safetensors").write_bytes(b"more usual")
    assert locate(weights(source=str(folder))) == folder / "model.safetensors"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").rename(folder / "a.bin")
    with pytest.raises(BackendError, match=r"GPFM\.pth, a\.bin"):
        locate(weights(source=str(folder)))
    assert fetch(weights(source=str(folder / "a.bin"))) == folder / "a.bin"
    assert hub.asked == []
