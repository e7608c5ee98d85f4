"""One server: its channel, its identity, which models were checked, how busy it is and whether it answers."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_backend_triton import TOKEN
from kras_backend_triton.address import is_here
from kras_backend_triton.agreement import Terms, check_model, read_terms
from kras_plugins import BackendError, ModelSpec
from kras_plugins.files.regular import SETTINGS, regular
from kras_plugins.models.repository import DIGEST
from kras_plugins.models.weights import model_digest

if TYPE_CHECKING:
    from kras_backend_triton import TritonOptions

log = logging.getLogger("kras.backend.triton")

_RPC_S = 10.0
"""Deadline of the small calls (metadata, configuration, statistics)."""

_TRUST_S = 15.0
"""A model is checked again after this time: a server may get other weights while it runs."""

_LONGEST_PAUSE_S = 5.0

_LARGEST_MESSAGE = 2**31 - 1


class Endpoint:
    """A server at one address; safe to use from many threads.

    `name`: the name in its certificate, if that is not the address.
    """

    def __init__(self, url: str, options: TritonOptions, name: str = "") -> None:
        from tritonclient.grpc import InferenceServerClient

        self.url = url
        self.is_here = is_here(url)
        self.outstanding = 0
        self.shared_memory = options.shared_memory == "auto" and self.is_here
        self.generation = 0
        self._failures = 0
        self._down_until = 0.0
        self._agreed: dict[str, tuple[float, Terms]] = {}
        self.rpc_s = min(_RPC_S, options.timeout_s)
        self._lock = threading.Lock()
        token = os.environ.get(TOKEN)
        # Proxies read the first, Triton itself reads the second (--grpc-restricted-protocol).
        names = ("authorization", "triton-grpc-protocol-authorization")
        self.headers = dict.fromkeys(names, f"Bearer {token}") if token else None
        self.encrypted = options.tls or bool(options.ca_file or options.cert_file)
        if token and not self.encrypted and not self.is_here:
            raise BackendError(f"{url}: a token would travel unencrypted", "set -o backend.triton.tls=true")
        self.client = InferenceServerClient(
            url,
            ssl=self.encrypted,
            root_certificates=_file(options.ca_file),
            certificate_chain=_file(options.cert_file),
            private_key=_file(options.private_file),
            channel_args=[
                ("grpc.max_send_message_length", _LARGEST_MESSAGE),
                ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
                # The default backs off for up to two minutes: a server that is back would be idle.
                ("grpc.initial_reconnect_backoff_ms", 200),
                ("grpc.max_reconnect_backoff_ms", 2_000),
                # Two channels to the same address must not depend on one connection.
                ("grpc.use_local_subchannel_pool", 1),
                # A proxy from the environment leads away from this host, not back to it.
                ("grpc.enable_http_proxy", 0 if self.is_here else 1),
                *([("grpc.ssl_target_name_override", name)] if name else []),
            ],
        )

    def identity(self) -> tuple[str, str]:
        """(name, version) of the server; InferenceServerException when it does not answer."""
        found = self.client.get_server_metadata(headers=self.headers, client_timeout=self.rpc_s)
        return found.name, found.version

    def terms_of_all(self) -> set[tuple[str, str]]:
        """(engine, precision) of every ready model that `kras model export` made."""
        name, version = self.identity()
        found = set()
        for model in self.index():
            if model.state == "READY":
                config = self.config(model.name, model.version)
                if DIGEST in config.parameters:
                    terms = read_terms(config, name, version)
                    found.add((terms.engine, terms.precision))
        return found

    def index(self) -> Any:
        """What is in the server's repositories: name, version and state of each."""
        return self.client.get_model_repository_index(headers=self.headers, client_timeout=self.rpc_s).models

    def config(self, model: str, version: str) -> Any:
        """Triton's ModelConfig of a model, as the server completed it."""
        answer = self.client.get_model_config(model, version, headers=self.headers, client_timeout=self.rpc_s)
        return answer.config

    def agree(self, spec: ModelSpec, expected: tuple[str, str]) -> Terms:
        """Check from time to time that the server has the spec's model and computes as `expected` (engine, precision).

        Raises BackendError on a difference, InferenceServerException when the server does not answer.
        """
        digest = model_digest(spec)
        with self._lock:
            when, known = self._agreed.get(digest, (0.0, None))
        if known is not None and time.monotonic() - when < _TRUST_S:
            return known
        config = self.config(spec.name, str(spec.version))
        check_model(config, spec, digest, self.url)
        terms = read_terms(config, *self.identity())
        if (terms.engine, terms.precision) != expected:
            raise BackendError(
                f"{self.url}: model {spec.name!r} is computed by {terms.engine} in {terms.precision}, "
                f"others by {expected[0]} in {expected[1]}",
                "serve all models on servers of one kind, so that results do not depend on which one was free",
            )
        with self._lock:
            self._agreed[digest] = time.monotonic(), terms
        return terms

    def statistics(self, model: str, version: int) -> dict[str, float]:
        """Counts and seconds since the server started: requests, tiles, queue, input, compute, output."""
        answer = self.client.get_inference_statistics(model, str(version), self.headers, client_timeout=self.rpc_s)
        found = answer.model_stats[0]
        stats = found.inference_stats
        return {
            "requests": float(stats.success.count),
            "tiles": float(found.inference_count),
            "batches": float(found.execution_count),
            "queue_s": stats.queue.ns / 1e9,
            "input_s": stats.compute_input.ns / 1e9,
            "compute_s": stats.compute_infer.ns / 1e9,
            "output_s": stats.compute_output.ns / 1e9,
        }

    @property
    def ready_in(self) -> float:
        """Seconds until it may be tried, 0 when it is assumed to be up."""
        return max(0.0, self._down_until - time.monotonic())

    def failed(self, why: str) -> None:
        """Leave it alone for a while, longer after each failure, and forget which models were checked."""
        with self._lock:
            if self._failures == 0:
                log.warning("triton at %s: %s; trying again", self.url, why)
            self._failures += 1
            pause = min(_LONGEST_PAUSE_S, 0.1 * 2.0 ** min(self._failures, 10))
            # Jitter keeps many clients from coming back at the same moment.
            self._down_until = time.monotonic() + pause * random.uniform(0.5, 1.0)
            self._agreed.clear()
            self.generation += 1

    def succeeded(self) -> None:
        """Record that it answered."""
        if self._failures:
            with self._lock:
                self._failures, self._down_until = 0, 0.0
            log.warning("triton at %s: answers again", self.url)

    def close(self) -> None:
        """Close the channel."""
        self.client.close()


def _file(path: str) -> str | None:
    if not path:
        return None
    file = Path(path).expanduser()
    if not file.exists():
        raise BackendError(f"{path}: no such certificate file", "check ca_file, cert_file and private_file")
    return str(regular(file, SETTINGS, BackendError))
