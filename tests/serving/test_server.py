"""The packaged server: it starts on a free port, says why when it cannot, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from triton_server import ensure_installed, export_tiny, own_ports

from kras_plugins.errors import BackendError
from kras_plugins.models.repository import config_text, parse_config
from kras_plugins.serving.environment import Environment, find
from kras_plugins.serving.server import DEFAULT_PORTS, _mapped, free_ports, serving


@pytest.fixture(scope="module")
def installed() -> Environment:
    ensure_installed()
    return find()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    export_tiny(folder)
    return folder


def processes_of(folder: Path) -> list[str]:
    """Command lines of running servers that name a folder, this process's children or not."""
    return list(pids_of(folder).values())


def pids_of(folder: Path) -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in line and "tritonserver" in line:
                found[int(entry.name)] = line
    return found


def test_it_listens_on_loopback_only_and_leaves_no_process(installed: Environment, place: Path) -> None:
    with serving(place / "models") as server:
        assert server.host == "127.0.0.1"
        assert processes_of(place)
        work = server.log.parent
        for port in (server.grpc, server.http, server.metrics):
            with socket.create_connection(("127.0.0.1", port), timeout=2):
                pass
        heard_at = listening()
        for port in (server.grpc, server.http, server.metrics):
            assert heard_at[port] <= {"0100007F", f"{'0' * 16}FFFF00000100007F"}  # 127.0.0.1, also as IPv6 writes it
    assert not processes_of(place)
    assert not work.exists()


def listening() -> dict[int, set[str]]:
    """Addresses of listening sockets by port, in hexadecimal as the kernel tells them."""
    found: dict[int, set[str]] = {}
    for file in ("tcp", "tcp6"):
        for line in Path("/proc/net", file).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A":
                address, port = local.split(":")
                found.setdefault(int(port, 16), set()).add(address)
    return found


def test_a_model_that_cannot_be_loaded_is_named_with_its_reason(installed: Environment, tmp_path: Path) -> None:
    export_tiny(tmp_path)
    (tmp_path / "models" / "tiny" / "1" / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(BackendError, match="tiny") as caught, serving(tmp_path / "models"):
        pass
    assert "ended while it started" in str(caught.value)
    assert not processes_of(tmp_path)


@pytest.mark.parametrize("crashes", [1, 2])
def test_a_server_that_crashes_while_it_starts_is_started_again_once(
    crashes: int, installed: Environment, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Triton does now and then: an abort in a lock of its Python backend."""
    shaky = tmp_path / "tritonserver"
    counting = f'starts="{tmp_path}/starts"; echo x >> "$starts"; test $(wc -l < "$starts") -gt {crashes}'
    shaky.write_text(f'#!/bin/sh\n{counting} || kill -ABRT $$\nexec {installed.server} "$@"\n')
    shaky.chmod(0o755)
    monkeypatch.setattr("kras_plugins.serving.server.find", lambda: replace(installed, server=shaky))
    if crashes == 1:
        with serving(place / "models") as server:
            assert server.process.poll() is None
    else:
        with pytest.raises(BackendError, match="ended while it started"), serving(place / "models"):
            pass
    assert len((tmp_path / "starts").read_text().split()) == 2
    assert processes_of(place) == []


def test_a_model_that_was_configured_but_not_exported_is_left_out(installed: Environment, tmp_path: Path) -> None:
    export_tiny(tmp_path)
    (tmp_path / "models" / "vit").mkdir()
    (tmp_path / "models" / "vit" / "config.pbtxt").write_text('name: "vit"\n')
    (tmp_path / "models" / "tiny" / ".export-left").mkdir()
    with serving(tmp_path / "models") as server:
        assert "successfully loaded 'tiny'" in server.log.read_text()


def test_an_empty_repository_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="kras model export"), serving(tmp_path):
        pass


def test_the_command_ends_with_the_server_when_it_is_told_to_and_takes_the_server_along_when_it_is_killed(
    installed: Environment, place: Path
) -> None:
    for number, clean in ((signal.SIGTERM, True), (signal.SIGKILL, False)):
        command = [sys.executable, "-m", "kras_plugins.cli", "model", "serve", str(place / "models")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
            assert run.stdout is not None
            assert "serving" in run.stdout.readline()
            assert processes_of(place)
            run.send_signal(number)
            run.wait(30)
            assert (run.returncode == 0) == clean
        end = time.monotonic() + 30
        while processes_of(place) and time.monotonic() < end:
            time.sleep(0.2)
        assert not processes_of(place)


def test_shared_memory_of_killed_servers_is_removed(
    installed: Environment, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kras_plugins.serving.server._NEW_S", 0.0)
    with serving(place / "models", ports=own_ports()) as server:
        own = _mapped(server.process.pid)
        assert own and all(file.exists() for file in own)
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        assert any(file.exists() for file in own)
    assert not any(file.exists() for file in own)

    command = [sys.executable, "-m", "kras_plugins.cli", "model", "serve", str(place / "models")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        assert run.stdout is not None
        assert "serving" in run.stdout.readline()
        (killed,) = [pid for pid in pids_of(place) if os.getpgid(pid) == pid]
        left = _mapped(killed)
        run.send_signal(signal.SIGSTOP)  # it would remove it
        os.killpg(killed, signal.SIGKILL)
        run.kill()
    assert any(file.exists() for file in left)
    with serving(place / "models", ports=own_ports()):
        assert not any(file.exists() for file in left)


def test_ports_are_tritons_own_where_they_are_free() -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", DEFAULT_PORTS["http"]))
            s.listen()
        except OSError:
            pass  # somebody else has it: just as good
        with free_ports() as ports:
            assert DEFAULT_PORTS["http"] not in ports.values()
            assert len(set(ports.values())) == 3


def test_two_servers_that_begin_at_the_same_time_get_different_ports() -> None:
    code = """
from kras_plugins.serving.server import free_ports
with free_ports() as ports:
    print(*ports.values(), flush=True)
    input()
"""
    run = [sys.executable, "-c", code]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = {int(port) for port in other.stdout.readline().split()}
        with free_ports() as ports:
            assert not theirs & set(ports.values())
        other.communicate("\n")
    assert len(theirs) == 3


def test_a_missing_environment_is_told_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRAS_TRITON_ENV", str(tmp_path / "nothing"))
    with pytest.raises(BackendError, match="kras model serve --install"):
        find()


def test_the_core_needs_no_numpy_1(installed: Environment) -> None:
    import numpy

    assert int(numpy.__version__.split(".")[0]) >= 2 or os.environ.get("KRAS_OLD_NUMPY")
    theirs = subprocess.run(
        [installed.python, "-c", "import numpy; print(numpy.__version__)"], capture_output=True, text=True, check=True
    )
    assert theirs.stdout.startswith("1.")


def test_a_written_configuration_is_read_by_the_server_unchanged(installed: Environment, place: Path) -> None:
    text = (place / "models" / "tiny" / "config.pbtxt").read_text()
    assert config_text(parse_config(text)) == text


def test_neither_server_nor_the_look_for_it_imports_anything_from_the_current_folder(
    installed: Environment, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("json", "numpy", "openvino"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('{module} ')\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    assert find() == installed
    assert not (tmp_path / "ran").exists()
    with serving(place / "models", ports=own_ports()):
        pass
    assert not (tmp_path / "ran").exists()
