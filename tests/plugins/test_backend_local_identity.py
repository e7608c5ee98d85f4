"""Nothing that one device computed is stored under another's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kras_backend_local import LocalOptions
from kras_backend_local.choice import Target
from kras_backend_local.torch_engine import Torch
from kras_plugins.host.config import load_config
from kras_plugins.host.manager import Registry, discover
from kras_plugins.host.parts import open_parts
from kras_plugins.store import make_key

TINY = ("extractor.vit.model=test_vit", "extractor.vit.weights=random:0", "extractor.vit.px=32")
H200 = Target(engine="torch", devices=("cuda:0",), name="NVIDIA H200", capability=(9, 0))
SECOND = Target(engine="torch", devices=("cuda:1",), name="NVIDIA H200", capability=(9, 0))
A40 = Target(engine="torch", devices=("cuda:0",), name="NVIDIA A40", capability=(8, 6))
CPU = Target(engine="torch")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


def facts(registry: Registry, *options: str) -> Mapping[str, Any]:
    """What the features of an extractor depend on, as it enters the key of a stored bag."""
    config = load_config(None, [*TINY, *(f"backend.local.{o}" for o in options)])
    with open_parts(registry, config, extractors=["vit"], profiler=None, backend="local") as parts:
        return parts.extractors[""].facts


def key(found: Mapping[str, Any]) -> str:
    return make_key("bag", part=found).digest


def test_engines_precisions_batches_and_compiled_networks_have_stores_of_their_own(registry: Registry) -> None:
    torch = ("engine=torch", "device=cpu")
    found = [
        facts(registry, *options)
        for options in (
            ("engine=openvino", "precision=f32"), torch, (*torch, "precision=bf16"), (*torch, "batch=3"),
            (*torch, "compile=true"),
        )
    ]  # fmt: skip
    assert len({key(f) for f in found}) == len(found)
    assert [f["backend"]["engine"].split()[0] for f in found] == ["openvino", *["torch"] * 4]
    assert [f["backend"]["precision"] for f in found] == ["f32", "f32", "bf16", "f32", "f32"]


def test_what_decides_is_what_computes_and_not_how_it_was_asked_for(registry: Registry) -> None:
    by_name = facts(registry, "engine=torch", "device=cpu", "precision=f32", "graphs=false")
    assert key(by_name) == key(facts(registry, "engine=torch", "device=cpu"))
    assert key(facts(registry, "engine=openvino")) == key(facts(registry, "engine=openvino", "device=cpu"))


def test_the_engine_is_named_by_device_version_and_batch() -> None:
    import torch

    named = {t: Torch(LocalOptions(), t).engine for t in (H200, A40, CPU)}
    assert named[H200] == f"torch {torch.__version__} NVIDIA H200 batch 64"
    assert named[CPU] == f"torch {torch.__version__} cpu batch 2"
    assert len(set(named.values())) == 3


def test_cards_of_one_kind_share_a_name_whichever_computes() -> None:
    both = Target(engine="torch", devices=("cuda:0", "cuda:1"), name="NVIDIA H200", capability=(9, 0))
    assert len({Torch(LocalOptions(), t).engine for t in (H200, SECOND, both)}) == 1
    assert Torch(LocalOptions(), both).report() == {"devices": ["cuda:0", "cuda:1"]}
