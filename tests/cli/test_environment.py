"""What the command sets in its environment, which worker processes inherit."""

from __future__ import annotations

import os

import pytest

from kras_plugins.cli import app


@pytest.mark.parametrize(("before", "after"), [(None, "passive"), ("active", "active")])
def test_threads_of_openmp_sleep_while_they_wait_unless_the_user_says_how(
    before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is None:
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    else:
        monkeypatch.setenv("OMP_WAIT_POLICY", before)
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    seen: list[str] = []
    monkeypatch.setattr(app, "app", lambda: seen.append(os.environ["OMP_WAIT_POLICY"]))
    monkeypatch.setattr(app, "leave", lambda code: seen.append(str(code)))
    app.main()
    assert seen == [after, "0"]
