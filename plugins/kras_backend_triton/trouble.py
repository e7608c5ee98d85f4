"""What an error of a Triton server means for the request that caused it."""

from __future__ import annotations

from tritonclient.utils import InferenceServerException

_REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "INVALID_ARGUMENT", "OUT_OF_RANGE")

_ABSENCES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED", "NOT_FOUND")


def status(error: InferenceServerException) -> str:
    """The gRPC status, for example `UNAVAILABLE`; empty where there is none."""
    return str(error.status() or "").removeprefix("StatusCode.")


def cause(error: InferenceServerException) -> str:
    """The server's words on one line."""
    return " ".join(str(error.message()).split()) or status(error)


def about_memory(error: InferenceServerException) -> bool:
    """Whether a shared region is unknown to the server or cannot be opened: another way of sending may work."""
    return "shared memory" in cause(error)


def is_refusal(error: InferenceServerException) -> bool:
    """Whether sending the same again cannot help: not allowed, or not understood."""
    why = cause(error)
    # Triton says UNAVAILABLE to a missing token, and gRPC to certificates that do not fit.
    if "protocol is restricted" in why or "Tls handshake failed" in why:
        return True
    return status(error) in _REFUSALS and not about_memory(error) and "unknown model" not in why


def is_absence(error: InferenceServerException) -> bool:
    """Whether the server or the model is unavailable: worth waiting for, here or elsewhere."""
    return status(error) in _ABSENCES or "unknown model" in cause(error)


def is_unheard(error: InferenceServerException) -> bool:
    """Whether the error does not come from a gRPC server, because there was no connection to one."""
    return "failed to connect to all addresses" in cause(error)
