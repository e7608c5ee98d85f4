"""`kras model list|fetch|probe|quantize|export|check|serve`: networks, weights, ONNX files, a server."""

from __future__ import annotations

from kras_plugins.cli import (
    model_check,
    model_export,
    model_fetch,
    model_list,
    model_probe,
    model_quantize,
    model_serve,
)
from kras_plugins.cli.words import Commands

app = Commands("Networks, their weights and licenses.")
app.add("list", model_list.list_models)
app.add("fetch", model_fetch.fetch_models)
app.add("probe", model_probe.probe)
app.add("quantize", model_quantize.quantize_model)
app.add("export", model_export.export_models)
app.add("check", model_check.check_models)
app.add("serve", model_serve.serve_models)
