"""Backend `triton`: sends tiles to one or more Triton Inference Servers that serve the exported models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from kras_plugins import BackendPlugin, Options, hookimpl, location, tuning

if TYPE_CHECKING:
    from kras_plugins import Backend

TOKEN = "KRAS_TRITON_TOKEN"
"""Environment variable with a bearer token for the server or the proxy before it; never logged or stored."""


class TritonOptions(Options):
    """Options of backend `triton`. None changes a result: the server states which weights compute, and how."""

    url: str = location(
        "localhost:8001",
        description="gRPC address HOST:PORT of the server, or several with commas: work goes to the least busy; "
        "dns:///HOST:PORT stands for all addresses of a name",
    )
    timeout_s: float = tuning(60.0, gt=0, description="seconds after which a request is given up and sent again")
    wait_s: float = tuning(
        1.0, ge=0, description="seconds to wait at the start if nothing listens yet: set more if servers are starting"
    )
    patience_s: float = tuning(
        120.0,
        ge=0,
        description="seconds to wait for servers that vanish, restart or fail before the run stops",
    )
    batch: int = tuning(0, ge=0, le=512, description="tiles per request, 0 for what the server's configuration prefers")
    in_flight: int = tuning(
        0, ge=0, le=256, description="requests at once, 0 for what the server's own statistics ask for"
    )
    shared_memory: Literal["auto", "off"] = tuning(
        "auto", description="pass tiles in shared memory if the server runs on this host"
    )
    tls: bool = tuning(False, description="encrypt; set automatically when a certificate file is given")
    ca_file: str = location("", description="PEM certificates to trust, empty for the system's")
    cert_file: str = location("", description="PEM certificate that this client shows (mutual TLS)")
    private_file: str = location("", description="PEM private half of `cert_file`")


def _create(options: TritonOptions) -> Backend:
    from kras_backend_triton.backend import Triton

    return Triton(options)


@hookimpl
def kras_backends() -> Iterable[BackendPlugin]:
    """Yield `triton`."""
    yield BackendPlugin(
        name="triton",
        summary="on Triton Inference Servers over gRPC, with shared memory on one host, balancing and failover",
        options=TritonOptions,
        create=_create,
    )
