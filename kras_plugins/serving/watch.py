"""What to watch of a Triton server, as data: rules for Prometheus and a dashboard for Grafana are made from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from kras_plugins.serving.orders import NOT_RUN, dumped

GPU_ONLY = frozenset(("nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"))
"""Metrics that a server without GPU does not have (the page "Metrics" of its user guide; they come through DCGM)."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One number: a PromQL expression, its unit in Grafana's terms, and perhaps an alert.

    `alert`: its name; `beyond`: what follows the expression (`> 0.8`); `lasting`: for how long; `means`: what to do.
    """

    title: str
    expression: str
    unit: str
    legend: str = "{{model}}"
    alert: str = ""
    beyond: str = ""
    lasting: str = "10m"
    means: str = ""


def _rate(metric: str) -> str:
    return f"sum by (model) (rate({metric}[5m]))"


WATCHED = (
    Watched(title="Tiles per second", expression=_rate("nv_inference_count"), unit="short"),
    Watched(
        title="Tiles per batch",
        expression=f"{_rate('nv_inference_count')} / {_rate('nv_inference_exec_count')}",
        unit="short",
    ),
    Watched(
        title="Failed requests per second",
        expression=_rate("nv_inference_request_failure"),
        unit="short",
        alert="KrasTritonFails",
        beyond="> 0",
        lasting="5m",
        means="Requests fail; the server's log says why. Clients send them again, up to five times.",
    ),
    Watched(
        title="Share of a request's time in the queue",
        expression=f"{_rate('nv_inference_queue_duration_us')} / {_rate('nv_inference_request_duration_us')}",
        unit="percentunit",
        alert="KrasTritonQueues",
        beyond="> 0.8",
        lasting="15m",
        means="Too few instances or GPUs for the number of clients: add replicas.",
    ),
    Watched(
        title="GPU utilization",
        expression="avg by (gpu_uuid) (nv_gpu_utilization)",
        unit="percentunit",
        legend="{{gpu_uuid}}",
    ),
    Watched(
        title="GPU memory in use",
        expression="max by (gpu_uuid) (nv_gpu_memory_used_bytes / nv_gpu_memory_total_bytes)",
        unit="percentunit",
        legend="{{gpu_uuid}}",
        alert="KrasTritonMemory",
        beyond="> 0.95",
        means="The next engine may not fit: use fewer models per GPU, or one instance per model.",
    ),
)


def prometheus_rules() -> str:
    """A rules file: an alert for each number that has one."""
    rules = [
        {
            "alert": w.alert,
            "expr": f"({w.expression}) {w.beyond}",
            "for": w.lasting,
            "labels": {"severity": "warning"},
            "annotations": {"summary": w.title, "description": w.means},
        }
        for w in WATCHED
        if w.alert
    ]
    return NOT_RUN + dumped({"groups": [{"name": "kras-triton", "rules": rules}]})


def grafana_dashboard() -> str:
    """A dashboard as JSON: one panel per number, two per row."""
    source = {"type": "prometheus", "uid": "${source}"}
    panels: list[dict[str, Any]] = [
        {
            "id": i + 1,
            "title": w.title,
            "description": w.means,
            "type": "timeseries",
            "datasource": source,
            "gridPos": {"x": 12 * (i % 2), "y": 8 * (i // 2), "w": 12, "h": 8},
            "targets": [{"refId": "A", "expr": w.expression, "legendFormat": w.legend, "datasource": source}],
            "fieldConfig": {"defaults": {"unit": w.unit, "min": 0}, "overrides": []},
        }
        for i, w in enumerate(WATCHED)
    ]
    dashboard = {
        "title": "kras: Triton",
        "uid": "kras-triton",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
        "panels": panels,
    }
    return json.dumps(dashboard, indent=1) + "\n"
