"""Telemetry of the libraries below, switched off before any of them is imported."""

from __future__ import annotations

import os
import sys

OPT_OUTS = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""Environment variables: ONNX Runtime's (1.29 and later; earlier ones for Linux send nothing), the Hugging Face hub's,
and the common one, for libraries of third-party plug-ins."""

# OpenVINO reports imports to Google Analytics and has no such variable: its command `opt_in_out --opt_out` writes
# into the home folder and reports the refusal. Without this module it falls back to a stub that does nothing.
_REPORTER = "openvino_telemetry"


def switch_off() -> None:
    """Set the opt-outs, overriding the environment, for this process and those it starts.

    Has no effect on a library that the process imported before.
    """
    os.environ.update(OPT_OUTS)
    sys.modules.setdefault(_REPORTER, None)  # type: ignore[arg-type]  # None: importing it is an ImportError
