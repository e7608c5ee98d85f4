"""PyTorch switches that affect the whole process, set during a computation and restored afterward."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import torch

Switch: TypeAlias = tuple[Callable[[], Any], Callable[[Any], None], Any]
"""How it is read, how it is set, and what it is set to."""

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def _held(find: Callable[[], Sequence[Switch]]) -> Callable[[], AbstractContextManager[None]]:
    """A context in which switches are set: the first of several threads sets them, the last one restores them."""
    guard = threading.Lock()
    users = 0
    before: list[tuple[Callable[[Any], None], Any]] = []

    @contextmanager
    def held() -> Iterator[None]:
        nonlocal users, before
        with guard:
            if users == 0:
                switches = find()
                before = [(put, read()) for read, put, _ in switches]
                for _, put, wanted in switches:
                    put(wanted)
            users += 1
        try:
            yield
        finally:
            with guard:
                users -= 1
                if users == 0:
                    for put, value in before:
                        put(value)

    return held


def _of(owner: Any, name: str, wanted: Any) -> Switch:
    """An attribute as a switch."""
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value), wanted


def _no_tf32() -> list[Switch]:
    """PyTorch has two interfaces and refuses the old one once the new one was used."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    found = [_of(owner, "allow_tf32", False) for owner in (matmul, cudnn)]
    try:
        for read, _, _ in found:
            read()
    except RuntimeError:
        parts: tuple[Any, ...] = (matmul, getattr(cudnn, "conv"), getattr(cudnn, "rnn"))  # noqa: B009 - from 2.9 on
        return [_of(owner, "fp32_precision", "ieee") for owner in parts]
    return found


def _deterministic() -> list[Switch]:
    """An operation without a deterministic form then raises an error; cuBLAS needs workspaces of fixed sizes."""
    known = os.environ.get(_CUBLAS, "")

    def read() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    def put(value: tuple[bool, bool]) -> None:
        torch.use_deterministic_algorithms(value[0], warn_only=value[1])

    return [
        (lambda: os.environ.get(_CUBLAS), _set_cublas, known if known in (":4096:8", ":16:8") else ":4096:8"),
        # Uninitialized memory is never read here, and filling it takes time.
        _of(torch.utils.deterministic, "fill_uninitialized_memory", False),
        (read, put, (True, False)),
    ]


def _set_cublas(value: str | None) -> None:
    if value is None:
        os.environ.pop(_CUBLAS, None)
    else:
        os.environ[_CUBLAS] = value


without_tf32 = _held(_no_tf32)
"""Within this context f32 never means TF32. A captured CUDA graph keeps the arithmetic of its capture and needs no
switch when it is replayed."""

deterministic = _held(_deterministic)
"""Within this context the same input gives the same bytes on one device: PyTorch uses only deterministic algorithms."""
