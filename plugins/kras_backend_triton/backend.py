"""The connection of one run to its servers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tritonclient.utils import InferenceServerException

from kras_backend_triton.address import read_addresses, refuse_others, why_unreachable
from kras_backend_triton.endpoint import Endpoint
from kras_backend_triton.infer import TritonInfer
from kras_backend_triton.patience import Patience
from kras_backend_triton.trouble import cause, is_refusal, is_unheard
from kras_plugins import BackendError, ModelSpec

if TYPE_CHECKING:
    from kras_backend_triton import TritonOptions

_ASK_AGAIN_S = 0.5


class Triton:
    """Backend on Triton servers. `engine` and `precision` are what every server and model there states."""

    def __init__(self, options: TritonOptions) -> None:
        urls = [found for u in options.url.split(",") if u.strip() for found in read_addresses(u.strip())]
        if not urls:
            raise BackendError("no Triton server is named", "set -o backend.triton.url=HOST:PORT")
        self._options = options
        self._endpoints = [Endpoint(url, options, name) for url, name in urls]
        self._closed = threading.Event()
        self._patience = Patience(options.patience_s)
        self._loaded: list[tuple[str, TritonInfer]] = []
        self.engine, self.precision = self._meet()

    def _meet(self) -> tuple[str, str]:
        """Wait for servers with models, then ask all that answer what they compute with; the answers must agree."""
        where = ", ".join(e.url for e in self._endpoints)
        while True:
            said: set[tuple[str, str]] = set()
            why, unreachable = "", 0
            for endpoint in self._endpoints:
                try:
                    found = endpoint.terms_of_all()
                    said |= found
                    why = why or ("" if found else f"{endpoint.url}: has no model made by `kras model export`")
                    endpoint.succeeded()
                except InferenceServerException as e:
                    why = self._trouble(endpoint, e)
                    if reason := why_unreachable(endpoint.url):
                        why, unreachable = f"{endpoint.url}: {reason}", unreachable + 1
                    elif is_unheard(e):
                        refuse_others(endpoint.url, endpoint.encrypted)
            if len(said) > 1:
                kinds = " and ".join(sorted(f"{engine} ({precision})" for engine, precision in said))
                raise BackendError(
                    f"{where}: models are computed by {kinds}", "serve all models on servers of one kind"
                )
            if said:
                self._patience.succeeded()
                return said.pop()
            # A server that listens is starting; if nothing listens, a wrong address is likelier than a late server.
            absent = unreachable == len(self._endpoints)
            self._wait(
                f"no Triton server answers: {why}" if "has no model made" not in why else why,
                "start one (`kras model serve`) and give the address that it prints: -o backend.triton.url=HOST:PORT"
                + (" (-o backend.triton.wait_s=SECONDS waits for one that is starting)" if absent else ""),
                self._options.wait_s if absent else self._options.patience_s,
            )

    def load(self, spec: ModelSpec) -> TritonInfer:
        """Check that a server has the model, wait for one that is loading it, and find how to keep it busy."""
        while True:
            agreed, why = {}, ""
            for endpoint in self._endpoints:
                try:
                    agreed[endpoint.url] = endpoint.agree(spec, (self.engine, self.precision))
                except InferenceServerException as e:
                    self._refuse_unknown(endpoint, spec, e)
                    why = self._trouble(endpoint, e)
            if agreed:
                try:
                    infer = TritonInfer(spec, self._endpoints, agreed, self._options, self._patience, self._closed)
                except InferenceServerException as e:
                    why = cause(e)
                else:
                    self._patience.succeeded()
                    self._loaded.append((spec.name, infer))
                    return infer
            self._wait(
                f"model {spec.name!r} is not ready: {why}", "the server's log says why", self._options.patience_s
            )

    def _trouble(self, endpoint: Endpoint, error: InferenceServerException) -> str:
        """Record that a server failed; BackendError if asking again cannot help."""
        if is_refusal(error):
            raise BackendError(
                f"{endpoint.url}: {cause(error)}", "check KRAS_TRITON_TOKEN, the certificates and the server's log"
            ) from error
        endpoint.failed(cause(error))
        return f"{endpoint.url}: {cause(error)}"

    def _wait(self, message: str, hint: str, seconds: float) -> None:
        """Wait a moment; BackendError after that many seconds of failures, or when the connection was closed."""
        if self._patience.failed() > seconds:
            raise BackendError(message, hint)
        if self._closed.wait(_ASK_AGAIN_S):
            raise BackendError("the connection to Triton was closed", "run the same command again")

    def _refuse_unknown(self, endpoint: Endpoint, spec: ModelSpec, error: InferenceServerException) -> None:
        """Raise BackendError for a model or version that the server does not list: waiting would not help."""
        try:
            index = endpoint.index()
        except InferenceServerException:
            return  # it does not answer at all
        versions = sorted(m.version for m in index if m.name == spec.name and m.state == "READY")
        if versions and str(spec.version) not in versions:
            raise BackendError(
                f"{endpoint.url}: model {spec.name!r} is there in version {', '.join(versions)}, "
                f"expected is {spec.version}",
                f"export it again: `kras model export {spec.name}`",
            ) from error
        names = sorted({m.name for m in index})
        if spec.name not in names:
            raise BackendError(
                f"{endpoint.url}: has no model {spec.name!r}; it has {', '.join(names) or 'none'}",
                f"`kras model export {spec.name}` into its repository and restart it",
            ) from error

    def report(self) -> dict[str, Any]:
        """Requests, retries and seconds of every model, for the manifest."""
        return {name: infer.report() for name, infer in list(self._loaded)}

    def close(self) -> None:
        """End the connection; pending requests are abandoned."""
        if self._closed.is_set():
            return
        self._closed.set()
        for _, infer in list(self._loaded):
            infer.close()
        for endpoint in self._endpoints:
            endpoint.close()
