"""The connection of one run to its servers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from tritonclient.utils import InferenceServerException

from kras_backend_triton.endpoint import Endpoint
from kras_backend_triton.infer import TritonInfer
from kras_backend_triton.trouble import cause, is_refusal
from kras_plugins import BackendError, ModelSpec

if TYPE_CHECKING:
    from kras_backend_triton import TritonOptions
    from kras_backend_triton.agreement import Terms

_ASK_AGAIN_S = 0.5


class Triton:
    """Backend on Triton servers. `engine` and `precision` are what every server and model there said of itself."""

    def __init__(self, options: TritonOptions) -> None:
        urls = [u.strip().removeprefix("grpc://") for u in options.url.split(",") if u.strip()]
        for url in urls:
            if "://" in url or ":" not in url:
                raise BackendError(f"{url}: not a gRPC address", "write HOST:PORT, for example localhost:8001")
        if not urls:
            raise BackendError("no Triton server is named", "set -o backend.triton.url=HOST:PORT")
        self._options = options
        self._endpoints = [Endpoint(url, options) for url in urls]
        self._closed = threading.Event()
        self._loaded: dict[str, TritonInfer] = {}
        self.engine, self.precision = self._meet()

    def _meet(self) -> tuple[str, str]:
        """Wait for a server, then ask all that answer what they compute with; they must agree."""
        said: set[tuple[str, str]] = set()
        for endpoint in self._answering():
            try:
                said |= endpoint.terms_of_all()
            except InferenceServerException as e:
                raise _refused(endpoint, e) from e
        where = ", ".join(e.url for e in self._endpoints)
        if not said:
            raise BackendError(f"{where}: holds no model made by `kras model export`", "export one and restart it")
        if len(said) > 1:
            kinds = " and ".join(sorted(f"{engine} ({precision})" for engine, precision in said))
            raise BackendError(f"{where}: models are computed by {kinds}", "serve all models on servers of one kind")
        return said.pop()

    def _answering(self) -> list[Endpoint]:
        """The servers that answer, as soon as one does; BackendError when patience ran out."""
        end = time.monotonic() + self._options.patience_s
        while True:
            found, why = [], ""
            for endpoint in self._endpoints:
                try:
                    endpoint.identity()
                    endpoint.succeeded()
                    found.append(endpoint)
                except InferenceServerException as e:
                    if is_refusal(e):
                        raise _refused(endpoint, e) from e
                    why = f"{endpoint.url}: {cause(e)}"
                    endpoint.failed(cause(e))
            if found:
                return found
            if time.monotonic() > end:
                raise BackendError(
                    f"no Triton server answers: {why}",
                    "start one (`kras model serve`), or name it with -o backend.triton.url=HOST:PORT",
                )
            time.sleep(_ASK_AGAIN_S)

    def load(self, spec: ModelSpec) -> TritonInfer:
        """Check that a server holds the model, wait for one that is loading it, and find how to keep it busy."""
        end = time.monotonic() + self._options.patience_s
        while True:
            terms, why = self._agreed(spec)
            if terms is not None:
                break
            if time.monotonic() > end:
                raise BackendError(f"model {spec.name!r} is not ready: {why}", "the server's log says why")
            time.sleep(_ASK_AGAIN_S)
        try:
            infer = TritonInfer(spec, self._endpoints, self._options, terms, self._closed)
        except InferenceServerException as e:
            raise BackendError(f"model {spec.name!r} does not run: {cause(e)}", "the server's log says more") from e
        self._loaded[spec.name] = infer
        return infer

    def _agreed(self, spec: ModelSpec) -> tuple[Terms | None, str]:
        terms, why = None, ""
        for endpoint in self._answering():
            try:
                found = endpoint.agree(spec, (self.engine, self.precision))
                terms = terms or found
            except InferenceServerException as e:
                if is_refusal(e):
                    raise _refused(endpoint, e) from e
                self._refuse_unknown(endpoint, spec)
                why = f"{endpoint.url}: {cause(e)}"
                endpoint.failed(cause(e))
        return terms, why

    def _refuse_unknown(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """A model or version that the server does not even list will not come by waiting."""
        index = endpoint.client.get_model_repository_index(headers=endpoint.headers).models
        versions = sorted(m.version for m in index if m.name == spec.name and m.state == "READY")
        if versions and str(spec.version) not in versions:
            raise BackendError(
                f"{endpoint.url}: model {spec.name!r} is there in version {', '.join(versions)}, "
                f"wanted is {spec.version}",
                f"export it anew: `kras model export {spec.name}`",
            )
        names = sorted({m.name for m in index})
        if spec.name not in names:
            raise BackendError(
                f"{endpoint.url}: has no model {spec.name!r}; it has {', '.join(names) or 'none'}",
                f"`kras model export {spec.name}` into its repository and restart it",
            )

    def report(self) -> dict[str, Any]:
        """Requests, retries and seconds of every model, for the manifest."""
        return {name: infer.report() for name, infer in self._loaded.items()}

    def close(self) -> None:
        """End the connection; requests under way are given up."""
        if self._closed.is_set():
            return
        self._closed.set()
        for infer in self._loaded.values():
            infer.close()
        for endpoint in self._endpoints:
            endpoint.close()


def _refused(endpoint: Endpoint, error: InferenceServerException) -> BackendError:
    return BackendError(
        f"{endpoint.url}: {cause(error)}", "check KRAS_TRITON_TOKEN, the certificates and the server's log"
    )
