from __future__ import annotations

from pathlib import Path

import pytest
from cohorts import draw_tables
from quick_study import quick

from kras_plugins.study import train
from kras_plugins.study.results import Training


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort of 42 patients without slides, and their features in two tables."""
    folder = tmp_path_factory.mktemp("tables")
    draw_tables(folder)
    return folder


@pytest.fixture(scope="session")
def done(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A finished training."""
    folder = tmp_path_factory.mktemp("done")
    return train(tables / "cohort.csv", quick(tables, folder / "store"), out=folder / "out")
