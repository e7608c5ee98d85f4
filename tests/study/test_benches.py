"""What a worker sets in its process for a run is put back."""

from __future__ import annotations

import os

import joblib
import pytest
import torch

from kras_plugins.study.benches import _threads


@pytest.mark.parametrize("before", [None, "3"])
def test_as_many_threads_as_the_client_has_also_where_one_a_core_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before is None:
        monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    else:
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", before)
    usual = torch.get_num_threads()
    with _threads(1):
        assert joblib.effective_n_jobs(-1) == 1  # as `rf` has it
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == usual
    assert os.environ.get("LOKY_MAX_CPU_COUNT") == before
