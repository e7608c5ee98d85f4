"""One model on one or more servers: bounded requests, the least busy server first, patience with those that fail."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from kras_backend_triton.patience import Patience
from kras_backend_triton.slot_pool import SlotPool
from kras_backend_triton.tally import Tally
from kras_backend_triton.trouble import about_memory, cause, is_absence, is_refusal
from kras_plugins import BackendError, ModelSpec

if TYPE_CHECKING:
    from kras_backend_triton import TritonOptions
    from kras_backend_triton.agreement import Terms
    from kras_backend_triton.endpoint import Endpoint
    from kras_backend_triton.slots import Slot
    from kras_plugins.contracts.backend import Arrays

_TRIES = 5
"""How often a batch is sent that a healthy server answers with an error or with NaN."""


class TritonInfer:
    """An Infer over servers that have the model; computing is repeatable, so a lost request is sent again."""

    def __init__(
        self,
        spec: ModelSpec,
        endpoints: list[Endpoint],
        agreed: dict[str, Terms],
        options: TritonOptions,
        patience: Patience,
        closed: threading.Event,
    ) -> None:
        """`agreed`: the terms of the servers that have the model now, by address; the others may join later."""
        up = [e for e in endpoints if e.url in agreed]
        terms = agreed[up[0].url]
        self._spec = spec
        self._endpoints = endpoints
        self._options = options
        self._terms = terms
        self._patience = patience
        self._closed = closed
        self._lock = threading.Lock()
        self._pending: set[Any] = set()
        self._turn = 0
        self._tally = Tally(spec)
        for endpoint in up:
            self._tally.meet(endpoint)
        self.batch = min(options.batch or terms.batch, spec.max_batch)
        self._slots = SlotPool(spec, self.batch, closed)
        self.in_flight = options.in_flight or self._wanted_in_flight(up)
        self._gate = threading.BoundedSemaphore(self.in_flight)

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch of at most `batch` tiles; BackendError when patience runs out or the request is refused."""
        n = len(next(iter(inputs.values())))
        if not 0 < n <= self.batch:
            raise BackendError(f"model {self._spec.name!r}: a batch of {n}, at most {self.batch} fit", "cut it smaller")
        with self._gate:
            return self._until_answered(inputs, n)

    def _until_answered(self, inputs: Arrays, n: int) -> Arrays:
        own = Patience(self._options.patience_s)
        errors = 0
        while True:
            self._stop_if_closed(None)
            endpoint = self._least_busy()
            try:
                if endpoint.ready_in:
                    self._sleep(min(endpoint.ready_in, max(0.0, self._patience.left)))
                began = time.monotonic()
                results = self._send(endpoint, inputs, n)
                self._tally.count(requests=1, tiles=n, wall_s=time.monotonic() - began)
                self._patience.succeeded()
                return results
            except ValueError as e:  # gRPC's error for a channel that was closed in another thread
                self._stop_if_closed(e)
                raise
            except InferenceServerException as e:
                why = cause(e)
                if is_refusal(e):
                    raise BackendError(
                        f"{endpoint.url}: model {self._spec.name!r}: {why}",
                        "check KRAS_TRITON_TOKEN and the server's log",
                    ) from e
                self._stop_if_closed(e)
                self._tally.count(retries=1)
                waited = max(own.failed(), self._patience.failed())
                if not about_memory(e):
                    # Also one that quickly answers with errors: it would attract every batch.
                    endpoint.failed(why)
                    errors += not is_absence(e)
                else:
                    self._sleep(0.05)
                if errors >= _TRIES:
                    raise BackendError(
                        f"{endpoint.url}: model {self._spec.name!r} failed {errors} times on one batch: {why}",
                        "the server's log says more; finished slides are kept, run the same command again",
                    ) from e
                if waited > self._options.patience_s:
                    raise BackendError(
                        f"no answer from {', '.join(e.url for e in self._endpoints)} for {waited:.0f} s: {why}",
                        "start the server and run the same command again: finished slides are kept "
                        "(-o backend.triton.patience_s=SECONDS waits longer)",
                    ) from e

    def _send(self, endpoint: Endpoint, inputs: Arrays, n: int) -> Arrays:
        with self._lock:
            endpoint.outstanding += 1
        try:
            endpoint.agree(self._spec, (self._terms.engine, self._terms.precision))
            self._tally.meet(endpoint)  # it may have been down when the run began
            slot = self._slots.take(endpoint)
            results = self._ask(endpoint, inputs, n) if slot is None else self._ask_slot(endpoint, slot, inputs, n)
        finally:
            with self._lock:
                endpoint.outstanding -= 1
        for name, array in results.items():
            if not np.isfinite(array).all():
                raise InferenceServerException(f"NaN or infinite values in output {name!r}", "StatusCode.INTERNAL")
        endpoint.succeeded()
        return results

    def _ask(self, endpoint: Endpoint, arrays: Arrays, n: int) -> dict[str, Any]:
        """One request with its tensors in the message."""
        inputs = []
        for tensor in self._spec.inputs:
            inputs.append(InferInput(tensor.name, [n, *tensor.shape], np_to_triton_dtype(np.dtype(tensor.dtype))))
            inputs[-1].set_data_from_numpy(np.ascontiguousarray(arrays[tensor.name]))
        outputs = [InferRequestedOutput(t.name) for t in self._spec.outputs]
        answer = self._wait(endpoint, inputs, outputs)
        return {t.name: answer.as_numpy(t.name) for t in self._spec.outputs}

    def _ask_slot(self, endpoint: Endpoint, slot: Slot, arrays: Arrays, n: int) -> dict[str, Any]:
        """One request with its tensors in shared memory."""
        try:
            self._wait(endpoint, *slot.request(arrays, n))
            results = slot.results(n)
        except BaseException:
            slot.drop()  # whatever went wrong: the server may yet write into it
            raise
        self._slots.give_back(slot)
        self._tally.count(tiles_in_shared_memory=n)
        return results

    def _wait(self, endpoint: Endpoint, inputs: list[InferInput], outputs: list[InferRequestedOutput]) -> Any:
        done: Future[Any] = Future()

        def arrived(result: Any, error: Any) -> None:
            done.set_result((result, error))

        call = endpoint.client.async_infer(
            self._spec.name,
            inputs,
            arrived,
            model_version=str(self._spec.version),
            outputs=outputs,
            client_timeout=max(1.0, min(self._options.timeout_s, self._patience.left)),
            headers=endpoint.headers,
        )
        with self._lock:
            self._pending.add(call)
        try:
            result, error = done.result()
        finally:
            with self._lock:
                self._pending.discard(call)
        if error is not None:
            raise error
        return result

    def _least_busy(self) -> Endpoint:
        """The server with the fewest pending requests, in turn; if none is up, the one to be tried soonest."""
        with self._lock:
            self._turn += 1
            order = [self._endpoints[(self._turn + i) % len(self._endpoints)] for i in range(len(self._endpoints))]
            return min(order, key=lambda e: (e.ready_in, e.outstanding))

    def _wanted_in_flight(self, up: list[Endpoint]) -> int:
        """Little's law: instances x (duration of a request / its compute time), and one more waiting for each.

        Both times come from a few requests of zeros: the client's clock and the server's own statistics.
        """
        instances = self._terms.instances * len(up)
        zeros = {t.name: np.zeros((self.batch, *t.shape), t.dtype) for t in self._spec.inputs}
        self._ask(up[0], zeros, self.batch)
        before, began, asked = up[0].statistics(self._spec.name, self._spec.version), time.monotonic(), 2
        for _ in range(asked):
            self._ask(up[0], zeros, self.batch)
        away = time.monotonic() - began
        after = up[0].statistics(self._spec.name, self._spec.version)
        spent = {k: after[k] - before[k] for k in after}
        mine = asked / max(asked, spent["requests"])  # other clients' requests are in the statistics, too
        computing = mine * (spent["input_s"] + spent["compute_s"] + spent["output_s"])
        ratio = (away - mine * spent["queue_s"]) / computing if computing > 0 else 1.0
        return min(256, math.ceil(instances * (1 + min(8.0, max(1.0, ratio)))))

    def _sleep(self, seconds: float) -> None:
        self._closed.wait(seconds)
        self._stop_if_closed(None)

    def _stop_if_closed(self, cause: Exception | None) -> None:
        if self._closed.is_set():
            raise BackendError("the connection to Triton was closed", "run the same command again") from cause

    def report(self) -> dict[str, float]:
        """What this client counted, and what the servers report for the same time (other clients' work included)."""
        found = {**self._tally.report(self._endpoints), "in_flight": float(self.in_flight), "batch": float(self.batch)}
        return {k: round(v, 3) for k, v in found.items()}

    def close(self) -> None:
        """Cancel pending requests and free the shared memory."""
        with self._lock:
            pending = list(self._pending)
        for call in pending:
            call.cancel()
        self._slots.close(self._endpoints)
