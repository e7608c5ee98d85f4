"""PyTorch's answers about accelerators are understood, also with a wrong build or driver."""

from __future__ import annotations

import types
import warnings
from pathlib import Path

import pytest
import torch

from kras_plugins.models import accelerators
from kras_plugins.models.accelerators import CUDA_BUILD, NEWER_DRIVER, Card, look

TOO_OLD = "The NVIDIA driver on your system is too old (found version 11040)."


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose system shows an NVIDIA GPU."""
    monkeypatch.setattr(accelerators, "_nvidia", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def unusable(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    def asked() -> bool:
        warnings.warn(said, UserWarning, stacklevel=2)
        return False

    def used() -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(torch.cuda, "is_available", asked)
    monkeypatch.setattr(torch.cuda, "init", used)


def test_usable_cards_are_listed_with_name_and_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = [types.SimpleNamespace(name="NVIDIA H200", major=9, minor=0)] * 2
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: facts[i])
    found = look()
    assert found.cards == (Card(0, "NVIDIA H200", (9, 0)), Card(1, "NVIDIA H200", (9, 0)))
    assert [card.device for card in found.cards] == ["cuda:0", "cuda:1"]
    assert found.trouble == ""


@pytest.mark.usefixtures("nvidia")
def test_a_build_without_cuda_beside_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    unusable(monkeypatch, "no CUDA")
    monkeypatch.setattr(torch.version, "cuda", None)
    found = look()
    assert found.trouble == f"PyTorch {torch.__version__} is built without CUDA" and found.remedy == CUDA_BUILD


@pytest.mark.usefixtures("nvidia")
def test_a_driver_that_is_too_old_is_told_in_torchs_words(monkeypatch: pytest.MonkeyPatch) -> None:
    unusable(monkeypatch, TOO_OLD)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = look()
    assert TOO_OLD in found.trouble and found.remedy == NEWER_DRIVER and not found.cards


@pytest.mark.usefixtures("nvidia")
@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_are_hidden_on_purpose_are_not_missed(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    unusable(monkeypatch, TOO_OLD)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert look().trouble == ""


def test_a_machine_without_a_gpu_has_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    unusable(monkeypatch, "no driver")
    monkeypatch.setattr(accelerators, "_nvidia", lambda: False)
    assert (look().cards, look().trouble) == ((), "")


def test_torch_is_looked_at_only_where_a_device_file_shows_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(Path, "exists", lambda _: False)
    for shown in (True, False):
        monkeypatch.setattr(accelerators, "_nvidia", lambda shown=shown: shown)
        assert accelerators.likely() is shown
    monkeypatch.setattr("sys.platform", "darwin")
    assert accelerators.likely()
