"""Each metric that is to be watched is one that a running server has, or one of GPUs; rules and panels are whole."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from triton_server import SIDE, answer, ensure_installed, export_tiny, own_ports, tiny
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from kras_backend_triton import TritonOptions
from kras_backend_triton.backend import Triton
from kras_plugins.serving.orders import Order, command
from kras_plugins.serving.server import Server, serving
from kras_plugins.serving.watch import GPU_ONLY, WATCHED, grafana_dashboard, prometheus_rules

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "serve-with-triton.md"


def metrics(text: str) -> set[str]:
    return set(re.findall(r"\bnv_\w+", text))


def ask(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
        return str(answer.read().decode())


def until_metrics(server: Server, seconds: float) -> None:
    """As probes of a pod do, which ask nothing else."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError):
            ask(f"http://{server.host}:{server.metrics}/metrics")
            return
        time.sleep(0.05)
    raise TimeoutError


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The packaged server with the arguments of printed orders, but those that it is too old for."""
    folder = tmp_path_factory.mktemp("watched")
    export_tiny(folder)
    ensure_installed()
    closed = "--grpc-restricted-protocol=trace,logging:admin=nobody"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kras_plugins.serving.server._wait_until_ready", until_metrics)
        arguments = ("--allow-http=false", closed)
        assert arguments[0] in command(Order(repository=folder), image="x", one_host=True)
        with serving(folder / "models", ports=own_ports(), precision="f32", arguments=arguments) as server:
            yield server


def test_the_metrics_port_opens_when_the_models_are_ready_and_http_stays_closed(ordered: Server) -> None:
    client = InferenceServerClient(ordered.url)
    assert client.is_model_ready("tiny")
    for closed in (client.get_log_settings, client.get_trace_settings):
        with pytest.raises(InferenceServerException, match="restricted"):
            closed()
    client.close()
    with pytest.raises(OSError, match="refused"):
        ask(f"http://{ordered.host}:{ordered.http}/v2/health/ready")


def test_every_metric_that_is_watched_or_documented_is_there(ordered: Server) -> None:
    backend = Triton(TritonOptions(url=ordered.url, in_flight=1))
    given = np.full((1, SIDE, SIDE, 3), 7, np.uint8)
    np.testing.assert_allclose(backend.load(tiny())({"tiles": given})["features"], answer(given))
    backend.close()
    text = ask(f"http://{ordered.host}:{ordered.metrics}/metrics")
    exposed = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    asked = metrics(PAGE.read_text()) | metrics(prometheus_rules()) | metrics(grafana_dashboard())
    assert asked >= {"nv_inference_count", "nv_inference_request_failure"}
    assert asked - GPU_ONLY <= exposed
    assert asked & GPU_ONLY, "and those of GPUs, which no server here has"


def test_rules_are_of_prometheus_form_with_an_alert_each() -> None:
    (group,) = yaml.safe_load(prometheus_rules())["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [w.alert for w in WATCHED if w.alert]
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[mh]", rule["for"])
        assert re.search(r"\) > [\d.]+$", rule["expr"])
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert rule["annotations"]["description"]


def test_a_panel_shows_each_number_beside_no_other() -> None:
    board = json.loads(grafana_dashboard())
    assert [p["targets"][0]["expr"] for p in board["panels"]] == [w.expression for w in WATCHED]
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]}
    assert len(places) == len({p["id"] for p in board["panels"]}) == len(WATCHED)
    (variable,) = board["templating"]["list"]
    assert {p["datasource"]["uid"] for p in board["panels"]} == {f"${{{variable['name']}}}"}
