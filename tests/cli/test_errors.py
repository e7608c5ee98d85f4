"""Bad input gets one line with the cause and one with what to do, and exit code 1."""

from __future__ import annotations

from pathlib import Path

import pytest
from cohorts import kras, settle

HEAD = "patient_id,slide_id,path,g12c\n"
FEW = HEAD + "a,s,x.svs,1\n" + "".join(f"n{i},n{i},n{i}.svs,0\n" for i in range(9))
NO_WEIGHTS = ["-o", "extractor.vit.model=lunit-s16", "-o", "extractor.vit.weights="]
GOOD = HEAD + "".join(f"p{i},s{i},s{i}.svs,{i % 2}\n" for i in range(12))

CASES = {
    "no cohort anywhere": (None, [], "no cohort was given", "kras demo"),
    "missing column": ("patient_id,slide_id,path\na,b,c\n", [], "g12c", ""),
    "duplicate slide": (HEAD + "a,s,x.svs,0\nb,s,y.svs,1\n", [], "s", ""),
    "two labels": (HEAD + "a,s,x.svs,0\na,t,y.svs,1\n", [], "a", ""),
    "non-numeric label": (HEAD + "a,s,x.svs,mutated\nb,t,y.svs,0\n", [], "mutated", ""),
    "one class": (HEAD + "a,s,x.svs,0\nb,t,y.svs,0\n", [], "all 2 labeled patients are negative", "both classes"),
    "fewer positives than folds": (FEW, [], "fold", ""),
    "unknown extractor": (GOOD, ["--extractor", "vti"], "there is no extractor 'vti'", "did you mean 'vit'"),
    "unknown classifier": (GOOD, ["--classifiers", "he,lgmb"], "there is no classifier 'lgmb'", "did you mean 'lgbm'"),
    "unknown option": (GOOD, ["-o", "extractor.vit.modle=x"], "option extractor.vit.modle", "mean 'model'"),
    "options of no plug-in": (GOOD, ["-o", "extractor.vti.model=x"], "no extractor 'vti'", "did you mean 'vit'"),
    "classifier twice": (GOOD, ["--classifiers", "he,he"], "one twice", "he,mlp,rf"),
    "thorough and not": (GOOD, ["--thorough", "--folds", "10"], "--thorough and --folds", "leave one"),
    "unknown backend": (GOOD, ["--backend", "locla"], "there is no backend 'locla'", "did you mean 'local'"),
    "malformed shard": (GOOD, ["--shard", "3/2"], "--shard 3/2", "--shard 1/4"),
    "no weights": (GOOD, NO_WEIGHTS, "not on this machine", "kras model fetch"),
    "every slide missing": (GOOD, ["--classifiers", "rf"], "failed alike", "path"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_says_what_is_wrong_and_what_to_do(case: str, tmp_path: Path) -> None:
    table, words, message, hint = CASES[case]
    settle(tmp_path)
    if table is not None:
        (tmp_path / "cohort.csv").write_text(table)
    ran = kras("run", *words, cwd=tmp_path, store=tmp_path / "store")
    assert ran.returncode == 1, ran.stderr
    error, told = ran.stderr.split("error:", 1)[1].split("hint:", 1)
    assert message in error
    assert hint in told
    assert told.strip()
    assert "Traceback" not in ran.stderr


def test_wrong_usage_exits_with_2(tmp_path: Path) -> None:
    assert kras("run", "--no-such-flag", cwd=tmp_path, store=tmp_path / "store").returncode == 2


def test_permutations_without_their_verdict_are_refused_rather_than_ignored(tmp_path: Path) -> None:
    ran = kras("run", "--permutations", "199", cwd=tmp_path, store=tmp_path / "store")
    assert ran.returncode == 2
    assert "--permutations without --verdict permutation" in " ".join(ran.stderr.split())


def test_an_output_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    settle(tmp_path)
    (tmp_path / "cohort.csv").write_text(GOOD)
    (tmp_path / "file").write_text("")
    ran = kras("run", "--out", "file/out", "--classifiers", "rf", cwd=tmp_path, store=tmp_path / "store")
    assert ran.returncode == 1
    assert "cannot make the folder" in ran.stderr
