"""Backend triton against a real server: right answers, nothing taken on trust, and every fault survived or reported."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from triton_server import SIDE, Faults, answer, export_tiny, faulty_server, own_ports, tiny
from tritonclient.grpc import InferenceServerClient

from kras_backend_triton import TritonOptions
from kras_backend_triton.agreement import check_model, read_terms
from kras_backend_triton.backend import Triton
from kras_backend_triton.slot_pool import SlotPool
from kras_plugins.errors import BackendError
from kras_plugins.host.manager import discover
from kras_plugins.models.precision import Precision
from kras_plugins.models.repository import model_config
from kras_plugins.models.weights import model_digest
from kras_plugins.serving.server import Server

SPEC = tiny()


def tiles(n: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton")
    export_tiny(folder, SPEC)
    return folder


@pytest.fixture(scope="module")
def running(place: Path) -> Iterator[tuple[Server, Faults]]:
    with pytest.MonkeyPatch.context() as patch, faulty_server(place, patch) as found:
        yield found


@pytest.fixture
def server(running: tuple[Server, Faults]) -> Server:
    return running[0]


@pytest.fixture
def faults(running: tuple[Server, Faults]) -> Iterator[Faults]:
    yield running[1]
    running[1].clear()


@pytest.fixture
def connect() -> Iterator[Any]:
    opened = []

    def open_one(url: str, **options: Any) -> Triton:
        opened.append(Triton(TritonOptions(url=url, **{"patience_s": 20, "timeout_s": 10, **options})))
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.close()


def run_many(infer: Any, batches: int = 60, seed: int = 0, between: float = 0.0) -> None:
    """Send batches of all sizes from many threads; each answer must be that of its own tiles."""

    def one(i: int) -> None:
        given = tiles(1 + i % infer.batch, seed + i)
        time.sleep(between)
        np.testing.assert_allclose(infer({"tiles": given})["features"], answer(given), rtol=1e-5)

    with ThreadPoolExecutor(infer.in_flight + 2) as pool:
        list(pool.map(one, range(batches)))


def test_answers_are_right_and_the_server_itself_counts_them(server: Server, connect: Any) -> None:
    backend = connect(server.url)
    infer = backend.load(SPEC)
    run_many(infer)
    sent = sum(1 + i % infer.batch for i in range(60))
    report = backend.report()["tiny"]
    assert report["tiles"] == sent
    assert report["requests"] == 60
    assert report["retries"] == 0
    # What found the number of requests in flight is in the server's count, not in the client's.
    assert report["server_tiles"] == sent + 3 * infer.batch
    assert report["server_compute_s"] > 0
    assert backend.precision == "f32"
    assert backend.engine.startswith("triton 2.51")
    assert "openvino" in backend.engine


def test_tiles_go_through_shared_memory_here_and_give_the_same_bits_in_messages(server: Server, connect: Any) -> None:
    given = {"tiles": tiles(3)}
    shared, plain = connect(server.url), connect(server.url, shared_memory="off")
    a, b = shared.load(SPEC)(given)["features"], plain.load(SPEC)(given)["features"]
    np.testing.assert_array_equal(a, b)
    assert shared.report()["tiny"]["tiles_in_shared_memory"] == 3
    assert plain.report()["tiny"]["tiles_in_shared_memory"] == 0


def test_shared_memory_is_given_back_at_the_end(server: Server, connect: Any) -> None:
    before = set(os.listdir("/dev/shm"))
    backend = connect(server.url)
    run_many(backend.load(SPEC), 8)
    assert {f for f in os.listdir("/dev/shm") if f.startswith(f"kras-{os.getpid()}-")} - before
    backend.close()
    assert not {f for f in os.listdir("/dev/shm") if f.startswith(f"kras-{os.getpid()}-")} - before
    client = InferenceServerClient(server.url)
    assert not client.get_system_shared_memory_status().regions
    client.close()


HOLDING = """
import sys
from triton_server import tiny
from kras_backend_triton.slots import Slot

slot = Slot(tiny(), 2)
print(slot.name, flush=True)
sys.stdin.read()
"""


def test_shared_memory_of_a_killed_client_goes_with_the_next_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    run = [sys.executable, "-c", HOLDING]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(run, env=env, **pipes) as dead, subprocess.Popen(run, env=env, **pipes) as alive:
        gone, kept = (Path("/dev/shm") / one.stdout.readline().strip() for one in (dead, alive))
        os.killpg(dead.pid, signal.SIGKILL)  # with Python's process that would free it
        dead.wait()
        assert gone.exists()
        SlotPool(SPEC, 2, threading.Event())
        assert not gone.exists() and kept.exists()
        alive.communicate("")
    assert not kept.exists()


def test_a_host_without_shared_memory_left_sends_messages(
    server: Server, connect: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    backend = connect(server.url)
    with caplog.at_level(logging.WARNING, "kras.backend.triton"):
        run_many(backend.load(SPEC), 10)
    assert backend.report()["tiny"]["tiles_in_shared_memory"] == 0
    assert "no shared memory" in caplog.text


def test_a_server_that_cannot_open_the_region_gets_messages(
    server: Server, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = connect(server.url)
    infer = backend.load(SPEC)
    client = backend._endpoints[0].client
    honest = client.register_system_shared_memory
    monkeypatch.setattr(
        client, "register_system_shared_memory", lambda name, _key, size, **k: honest(name, "/elsewhere", size, **k)
    )
    run_many(infer, 10)
    assert backend.report()["tiny"]["tiles_in_shared_memory"] == 0


def test_a_batch_answered_with_an_error_is_sent_again(server: Server, faults: Faults, connect: Any) -> None:
    backend = connect(server.url)
    infer = backend.load(SPEC)
    faults.plant("error")
    run_many(infer, 30)
    assert backend.report()["tiny"]["retries"] == 1


def test_a_batch_answered_with_nan_is_sent_again(server: Server, faults: Faults, connect: Any) -> None:
    backend = connect(server.url)
    infer = backend.load(SPEC)
    faults.plant("nan")
    run_many(infer, 30)
    assert backend.report()["tiny"]["retries"] == 1


@pytest.mark.parametrize(("kind", "said"), [("error", "planted error"), ("nan", "NaN or infinite values")])
def test_a_model_that_always_fails_stops_the_run_with_its_own_words(
    server: Server, faults: Faults, connect: Any, kind: str, said: str
) -> None:
    infer = connect(server.url).load(SPEC)
    faults.plant(kind, always=True)
    with pytest.raises(BackendError, match=said):
        infer({"tiles": tiles(2)})


def test_a_request_past_its_deadline_is_sent_again_and_its_memory_never_used_again(
    server: Server, faults: Faults, connect: Any
) -> None:
    backend = connect(server.url, timeout_s=1)
    infer = backend.load(SPEC)
    run_many(infer, 10)
    faults.plant("slow", seconds=2.5)
    # The late answer is written while other requests are out: were its region used again, they would get it.
    run_many(infer, 200, seed=1000, between=0.02)
    assert backend.report()["tiny"]["retries"] >= 1


def test_an_unloaded_model_is_waited_for(server: Server, connect: Any) -> None:
    backend = connect(server.url)
    infer = backend.load(SPEC)
    client = InferenceServerClient(server.url)
    client.unload_model("tiny")
    timer = threading.Timer(2.0, client.load_model, ["tiny"])
    timer.start()
    run_many(infer, 10)
    assert backend.report()["tiny"]["retries"] >= 1
    timer.join()
    client.close()


def test_a_server_given_other_weights_while_it_runs_is_refused(
    server: Server, place: Path, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kras_backend_triton.endpoint._TRUST_S", 0.0)
    infer = connect(server.url).load(SPEC)
    config = place / "models" / "tiny" / "config.pbtxt"
    kept = config.read_text()
    client = InferenceServerClient(server.url)
    try:
        config.write_text(kept.replace(model_digest(SPEC), "0" * 64))
        client.load_model("tiny")
        with pytest.raises(BackendError, match=f"{'0' * 64}.*{model_digest(SPEC)}"):
            infer({"tiles": tiles(2)})
    finally:
        config.write_text(kept)
        client.load_model("tiny")
        client.close()


def test_other_weights_are_refused_with_both_digests(server: Server, connect: Any) -> None:
    mine = tiny(factor=2.5)
    with pytest.raises(BackendError, match=model_digest(SPEC)) as caught:
        connect(server.url).load(mine)
    assert model_digest(mine) in str(caught.value)


def test_a_second_model_of_the_same_name_is_not_taken_for_the_first(server: Server, connect: Any) -> None:
    backend = connect(server.url)
    backend.load(SPEC)
    with pytest.raises(BackendError, match=model_digest(SPEC)):
        backend.load(tiny(factor=2.5))


def test_a_wrong_version_is_refused_with_those_that_are_there(server: Server, connect: Any) -> None:
    with pytest.raises(BackendError, match="version 1, expected is 7"):
        connect(server.url).load(replace(SPEC, version=7))


def test_an_unknown_model_is_refused_with_those_that_are_there(server: Server, connect: Any) -> None:
    with pytest.raises(BackendError, match="no model 'vat'; it has tiny"):
        connect(server.url).load(tiny("vat"))


def test_tensors_of_another_shape_or_type_are_refused() -> None:
    config = model_config(SPEC, digest="d")
    wider = replace(SPEC.inputs[0], shape=(16, 16, 3))
    with pytest.raises(BackendError, match=r"inputs tiles uint8\[8, 8, 3\]; expected are tiles uint8\[16, 16, 3\]"):
        check_model(config, replace(SPEC, inputs=(wider,)), "d", "here")
    renamed = replace(SPEC.outputs[0], name="tokens")
    with pytest.raises(BackendError, match="outputs features"):
        check_model(config, replace(SPEC, outputs=(renamed,)), "d", "here")


def on_gpus(precision: Precision) -> Any:
    from tritonclient.grpc import model_config_pb2 as pb

    config = model_config(SPEC, digest="d", precision=precision)
    config.instance_group[0].kind = pb.ModelInstanceGroup.KIND_GPU
    config.instance_group[0].gpus.extend([0, 1])
    return config


def test_a_native_server_computes_in_what_the_graph_says_and_is_named_by_its_gpu() -> None:
    terms = read_terms(on_gpus("f16"), "native/NVIDIA L4/tritonserver:26.07-py3", "2.71.0")
    assert (terms.precision, terms.instances, terms.batch) == ("f16", 4, 16)
    assert terms.engine == "triton 2.71.0 onnxruntime gpu tensorrt NVIDIA L4 tritonserver:26.07-py3"
    other = read_terms(on_gpus("f16"), "native/NVIDIA H200/tritonserver:26.07-py3", "2.71.0")
    assert other.engine != terms.engine
    assert read_terms(on_gpus("int8"), "triton", "2.71.0").precision == "int8"


def test_f32_on_a_gpu_that_says_nothing_of_itself_may_be_tf32_and_is_called_so() -> None:
    assert read_terms(on_gpus("f32"), "native/NVIDIA L4/tritonserver:26.07-py3", "2.71.0").precision == "f32"
    terms = read_terms(on_gpus("f32"), "triton", "2.71.0")
    assert terms.precision == "tf32"
    assert terms.engine == "triton 2.71.0 onnxruntime gpu tensorrt"


def test_a_native_cpu_takes_no_name_for_what_it_computes_with() -> None:
    config = model_config(SPEC, digest="d")
    terms = read_terms(config, "kras/openvino 1 batch 2/bf16", "2.51.0")
    assert (terms.precision, terms.instances, terms.batch) == ("f32", 2, 4)
    assert terms.engine == "triton 2.51.0 onnxruntime cpu"


def test_the_cpu_server_is_as_coarse_as_the_coarser_of_graph_and_processor() -> None:
    def said(graph: Precision, processor: str) -> tuple[str, str]:
        config = model_config(SPEC, digest="d", precision=graph)
        config.runtime = "model.py"
        terms = read_terms(config, f"kras/openvino 1 batch 2/{processor}", "2.51.0")
        return terms.precision, terms.engine

    assert said("f32", "f32") == ("f32", "triton 2.51.0 openvino 1 batch 2")
    assert said("f32", "bf16") == ("bf16", "triton 2.51.0 openvino 1 batch 2")
    # Weights in float16 differ from those in float32, whatever computes them: the two must be distinguished.
    assert said("f16", "f32") == ("f16", "triton 2.51.0 openvino 1 batch 2 f16 graph")
    assert said("f16", "bf16") == ("bf16", "triton 2.51.0 openvino 1 batch 2 f16 graph")


def test_a_model_whose_export_says_no_precision_is_to_be_exported_anew() -> None:
    config = model_config(SPEC, digest="d")
    del config.parameters["precision"]
    assert read_terms(config, "triton", "2.51.0").precision == "unknown"
    with pytest.raises(BackendError, match="an older kras exported it.*kras model export tiny"):
        check_model(config, SPEC, "d", "here")


def test_an_absent_server_is_waited_for_within_the_budget_and_named(connect: Any) -> None:
    port = own_ports()["grpc"]
    began = time.monotonic()
    with pytest.raises(BackendError, match=f"no Triton server answers: 127.0.0.1:{port}"):
        connect(f"127.0.0.1:{port}", wait_s=1.5)
    assert 1 < time.monotonic() - began < 8


def test_addresses_that_cannot_be_meant_are_refused(connect: Any) -> None:
    for url in ("http://localhost:8000", "localhost", " , "):
        with pytest.raises(BackendError):
            connect(url)


def test_closing_gives_up_requests_under_way(server: Server, faults: Faults, connect: Any) -> None:
    backend = connect(server.url, timeout_s=60, patience_s=60)
    infer = backend.load(SPEC)
    faults.plant("slow", seconds=6)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(infer, {"tiles": tiles(2)})
        time.sleep(0.5)
        began = time.monotonic()
        backend.close()
        with pytest.raises(BackendError, match="closed"):
            asked.result(timeout=5)
        assert time.monotonic() - began < 4


def test_no_request_is_lost_when_the_server_is_killed_and_restarted(
    place: Path, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = own_ports()
    with ThreadPoolExecutor(1) as pool:
        with faulty_server(place, monkeypatch, ports=ports) as (first, _):
            backend = connect(first.url, patience_s=60)
            infer = backend.load(SPEC)
            work = pool.submit(run_many, infer, 300, between=0.05)
            time.sleep(1)
            first.process.kill()
        with faulty_server(place, monkeypatch, ports=ports):
            work.result(timeout=60)
            report = backend.report()["tiny"]
            assert report["retries"] >= 1
            assert report["requests"] == 300
            assert report["tiles_in_shared_memory"] > 0
            backend.close()


@pytest.mark.long
def test_a_server_that_is_stopped_for_a_while_delays_the_run_and_no_more(
    place: Path, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty_server(place, monkeypatch) as (own, _), ThreadPoolExecutor(1) as pool:
        backend = connect(own.url, timeout_s=1, patience_s=60)
        infer = backend.load(SPEC)
        work = pool.submit(run_many, infer, 200, between=0.05)
        time.sleep(0.5)
        own.process.send_signal(signal.SIGSTOP)
        time.sleep(5)
        own.process.send_signal(signal.SIGCONT)
        work.result(timeout=60)
        assert backend.report()["tiny"]["retries"] >= 1
        backend.close()


def test_past_the_budget_the_run_stops_and_says_that_nothing_is_lost(
    place: Path, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty_server(place, monkeypatch) as (own, _):
        infer = connect(own.url, patience_s=2).load(SPEC)
        own.process.kill()
        began = time.monotonic()
        with pytest.raises(BackendError, match="finished slides are kept"):
            infer({"tiles": tiles(2)})
        assert 2 <= time.monotonic() - began < 15


def test_work_goes_on_at_the_other_server_when_one_dies(
    place: Path, server: Server, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty_server(place, monkeypatch) as (second, _), ThreadPoolExecutor(1) as pool:
        backend = connect(f"{server.url},{second.url}", patience_s=30)
        infer = backend.load(SPEC)
        run_many(infer, 40)
        counts = [e.statistics("tiny", 1)["requests"] for e in backend._endpoints]
        assert min(counts) > 0
        work = pool.submit(run_many, infer, 200, seed=500, between=0.02)
        time.sleep(0.5)
        second.process.kill()
        work.result(timeout=60)
        backend.close()


def test_a_server_that_only_answers_with_errors_does_not_draw_the_work_to_itself(
    place: Path, server: Server, connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.symlink(place / "models", tmp_path / "models")
    with faulty_server(tmp_path, monkeypatch) as (sick, orders):
        backend = connect(f"{server.url},{sick.url}", patience_s=30)
        infer = backend.load(SPEC)
        orders.plant("error", always=True)
        run_many(infer, 60)
        assert backend.report()["tiny"]["retries"] >= 1
        backend.close()


@pytest.mark.long
def test_a_stopped_server_holds_neither_loading_nor_waiting_callers_nor_closing_up(
    place: Path, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty_server(place, monkeypatch) as (own, _):
        backend = connect(own.url, patience_s=2, timeout_s=1, in_flight=2)
        infer = backend.load(SPEC)
        run_many(infer, 8)
        loading = connect(own.url, patience_s=2, timeout_s=1)
        own.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(BackendError):
            loading.load(SPEC)
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(infer, {"tiles": tiles(2)}) for _ in range(8)]
            for future in asked:
                with pytest.raises(BackendError):
                    future.result()
        backend.close()
        assert time.monotonic() - began < 20
        own.process.send_signal(signal.SIGCONT)


def test_closing_while_many_ask_leaves_no_shared_memory(server: Server, faults: Faults, connect: Any) -> None:
    backend = connect(server.url)
    infer = backend.load(SPEC)
    faults.plant("slow", seconds=1)
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(infer, {"tiles": tiles(2)}) for _ in range(60)]
        time.sleep(0.2)
        backend.close()
        for future in asked:
            assert future.exception() is None or isinstance(future.exception(), BackendError), future.exception()
    with pytest.raises(BackendError, match="closed"):
        infer({"tiles": tiles(2)})
    assert not [f for f in os.listdir("/dev/shm") if f.startswith(f"kras-{os.getpid()}-")]


def test_a_channel_closed_while_a_region_is_registered_leaves_no_shared_memory(
    server: Server, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = connect(server.url)
    infer = backend.load(SPEC)
    before = set(os.listdir("/dev/shm"))

    def closed(*_: object, **__: object) -> None:
        raise ValueError("Cannot invoke RPC on closed channel!")

    monkeypatch.setattr(backend._endpoints[0].client, "register_system_shared_memory", closed)
    with pytest.raises(ValueError, match="closed channel"):
        infer({"tiles": tiles(2)})
    assert {f for f in os.listdir("/dev/shm") if f.startswith(f"kras-{os.getpid()}-")} <= before


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a server's and a client's certificate of it."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", "/CN=ca", "-keyout", "ca.key", "-out",
            "ca.crt")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", "csr")
        openssl("x509", "-req", "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", 2,
                "-extfile", "names", "-out", f"{name}.crt")  # fmt: skip
    return folder


def test_mutual_tls_and_a_token_open_the_door_and_nothing_else_does(
    place: Path, certificates: Path, connect: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tls = {"ca_file": certificates / "ca.crt", "cert_file": certificates / "client.crt"}
    options = {k: str(v) for k, v in tls.items()} | {"private_file": str(certificates / "client.key")}
    arguments = [
        "--grpc-use-ssl=true",
        "--grpc-use-ssl-mutual=true",
        f"--grpc-server-cert={certificates / 'server.crt'}",
        f"--grpc-server-key={certificates / 'server.key'}",
        f"--grpc-root-cert={certificates / 'ca.crt'}",
        "--grpc-restricted-protocol=inference,model-config,shared-memory:authorization=Bearer s3cret",
    ]
    with faulty_server(place, monkeypatch, arguments=arguments) as (own, _):
        with pytest.raises(BackendError):
            connect(own.url, patience_s=1)  # no TLS
        with pytest.raises(BackendError):
            connect(own.url, patience_s=1, ca_file=options["ca_file"])  # no certificate of one's own
        monkeypatch.setenv("KRAS_TRITON_TOKEN", "guess")
        with pytest.raises(BackendError) as caught:
            connect(own.url, patience_s=1, **options).load(SPEC)
        assert "guess" not in str(caught.value)
        monkeypatch.setenv("KRAS_TRITON_TOKEN", "s3cret")
        with caplog.at_level(logging.DEBUG):
            backend = connect(own.url, **options)
            run_many(backend.load(SPEC), 10)
            backend.close()
        assert "s3cret" not in caplog.text


def test_a_token_does_not_travel_unencrypted_to_another_host(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRAS_TRITON_TOKEN", "s3cret")
    with pytest.raises(BackendError, match="unencrypted"):
        connect("triton.example.org:8001")


def test_no_option_of_the_connection_changes_what_is_stored() -> None:
    record = discover().find("backend", "triton").record
    assert record.options().result_affecting() == {}
