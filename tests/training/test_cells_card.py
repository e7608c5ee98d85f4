"""The model card says what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.card import write_card, write_never_seen

ROOT = Path(__file__).resolve().parents[2]


def test_the_cards_tables_are_those_of_the_figures(tmp_path):
    card = ROOT / "docs/models/cells.md"
    again = tmp_path / "cells.md"
    again.write_text(card.read_text(encoding="utf-8"), encoding="utf-8")
    write_card(json.loads((ROOT / "training/cells.json").read_text()), again)
    write_never_seen(json.loads((ROOT / "training/left_out.json").read_text()), again)
    assert again.read_text(encoding="utf-8") == card.read_text(encoding="utf-8")


def test_a_card_without_markers_is_refused(tmp_path):
    (tmp_path / "card.md").write_text("# no tables here\n")
    figures = json.loads((ROOT / "training/cells.json").read_text())
    with pytest.raises(ValueError, match="held-out"):
        write_card(figures, tmp_path / "card.md")


def test_the_trained_model_beats_the_untrained_one_beyond_its_interval():
    figures = json.loads((ROOT / "training/cells.json").read_text())
    for part, score in (("dsb2018", "f1"), ("hgsc", "f1"), ("hgsc", "f1 lymphocyte/tumor")):
        trained, untrained = (figures[who][part]["scores"][score] for who in ("trained", "untrained"))
        assert trained[1] > untrained[2], (part, score)
