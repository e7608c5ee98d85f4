"""The main job on real and synthetic slides, through the command a user types."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cohorts import command, environment, kras, kras_process, read_rows, settle, write_rows
from networks import lay_networks
from PIL import Image
from recomputing import recompute

from kras_plugins.testing import draw_cohort

AS_WRITTEN = ("run", "--extractor", "vit", "--classifiers", "he,mlp,rf")
PATIENTS, POSITIVES = 24, 11
"""A quarter is squamous and out of scope; thresholds need ten positive patients in scope."""
SIDE_UM = 800.0
"""A smaller slide has less than 0.1 mm² of cancer epithelium, which puts its patient out of scope."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a drawn cohort, its settings and a store."""
    folder = tmp_path_factory.mktemp("study")
    draw_cohort(folder, patients=PATIENTS, positives=POSITIVES, size_um=(SIDE_UM, SIDE_UM), processes=1)
    settle(folder)
    lay_networks(folder / "store")
    return folder


@pytest.fixture(scope="module")
def done(home: Path) -> Path:
    """The output folder of the command exactly as a user would write it."""
    ran = kras_process(*AS_WRITTEN, cwd=home, store=home / "store")
    assert ran.returncode == 0, ran.stderr
    return home / "kras-out" / "cohort"


def test_the_planted_signal_is_found_and_stands_beside_its_baselines(done: Path) -> None:
    metrics = json.loads((done / "metrics.json").read_text())
    assert metrics["unit"] == "patient"
    members, baselines = {"he", "mlp", "rf"}, {"clinical", "site_only", "til_only", "meanmax_only"}
    assert set(metrics["models"]) == {*members, *baselines, "ensemble", "prevalence"}
    assert set(metrics["all_patients_pooled"]) == {*members, "ensemble", "prevalence", "histology_only"}
    assert metrics["models"]["ensemble"]["auroc"]["value"] >= 0.85
    assert metrics["models"]["prevalence"]["auroc"]["value"] == 0.5
    assert metrics["all_patients_pooled"]["histology_only"]["auroc"]["value"] > 0.5
    for table in ("models", "luad_only"):
        for entry in metrics[table].values():
            assert {"n", "n_positive", "auroc", "auprc", "brier", "operating_points"} <= set(entry)
            assert {"value", "low", "high", "method"} <= set(entry["auroc"])
    compared = {c["b"]: c["population"] for c in metrics["comparisons"]}
    assert compared == dict.fromkeys(members | baselines, "in_scope") | {"histology_only": "all_patients"}


def test_everything_but_the_pooled_table_is_of_patients_in_scope(done: Path) -> None:
    metrics = json.loads((done / "metrics.json").read_text())
    squamous = PATIENTS // 4
    assert metrics["scope"]["out_of_scope"] == {"squamous": squamous}  # and no slide has too little cancer epithelium
    assert "cancer epithelium" in metrics["scope"]["gate"]
    counts = {"n": PATIENTS - squamous, "n_positive": POSITIVES}
    for block in (metrics, metrics["scope"], metrics["power"], *metrics["models"].values()):
        assert counts.items() <= block.items()
    assert {e["n"] for e in metrics["all_patients_pooled"].values()} == {PATIENTS}


def test_other_libraries_find_every_number_of_the_demonstration_again(home: Path, done: Path) -> None:
    code, numbers, said = recompute(done, home / "cohort.csv")
    assert code == 0 and "\n0 numbers not recomputed" in said, said
    assert numbers > 3000


def test_every_patient_has_one_row_scored_by_a_fold_that_never_saw_it(home: Path, done: Path) -> None:
    rows = read_rows(done / "predictions.csv")
    labels = {r["patient_id"]: r["g12c"] for r in read_rows(home / "cohort.csv")}
    assert {r["patient_id"]: r["label"] for r in rows} == labels
    assert {r["fold"] for r in rows} == {"1", "2", "3", "4", "5"}
    outside = {r["patient_id"]: r["reason"] for r in rows if r["call"] == "not_assessable"}
    assert outside == {r["patient_id"]: "out of scope: LUSC is squamous" for r in rows if r["histology"] == "LUSC"}
    assert all(r["call"] in {"rule_in", "indeterminate", "rule_out"} for r in rows if r["histology"] == "LUAD")
    assert all(0 < float(r[m]) < 1 for r in rows for m in ("he", "mlp", "rf", "ensemble"))


def test_the_manifest_says_what_was_done_and_the_report_loads_nothing(done: Path) -> None:
    manifest = json.loads((done / "manifest.json").read_text())
    assert manifest["config"]["classifiers"] == ["he", "mlp", "rf"]
    assert "demonstration encoder" in manifest["extractor"]["weights"][0]["caution"]
    assert manifest["precision"] in {"bf16", "f32"}
    assert len(manifest["slides"]) == len(read_rows(done.parents[1] / "cohort.csv"))
    report = (done / "report.html").read_text()
    assert 'src="http' not in report
    assert "demonstration encoder" in report


def test_shuffled_labels_give_half_within_its_interval(home: Path, done: Path) -> None:
    rows = read_rows(home / "cohort.csv")
    patients = sorted({r["patient_id"] for r in rows})
    labels = [next(r["g12c"] for r in rows if r["patient_id"] == p) for p in patients]
    random.Random(1).shuffle(labels)
    shuffled = dict(zip(patients, labels, strict=True))
    for r in rows:
        r["g12c"] = shuffled[r["patient_id"]]
    write_rows(home / "shuffled.csv", rows)
    ran = kras("run", "shuffled.csv", "--json", *AS_WRITTEN[1:], cwd=home, store=home / "store")
    assert ran.returncode == 0, ran.stderr
    auroc = json.loads(ran.stdout)["models"]["ensemble"]["auroc"]
    assert auroc["low"] <= 0.5 <= auroc["high"]


@pytest.mark.long
def test_a_killed_run_resumes_to_the_same_bytes(home: Path, done: Path, tmp_path: Path) -> None:
    words = command(*AS_WRITTEN, "--out", tmp_path / "out")
    store = tmp_path / "store"
    lay_networks(store)
    shutil.copytree(home / "slides", tmp_path / "slides")
    for name in ("cohort.csv", "kras.toml"):
        shutil.copy(home / name, tmp_path / name)

    def stored() -> int:
        return len(list(store.glob("*/*/key.json")))

    there, slides = stored(), len(list((tmp_path / "slides").iterdir()))
    # Each slide has tissue, bag, map, profile and the place where it lies; then come fits.
    for wanted in (there + 6, there + 2 * slides, there + 5 * slides + 6):
        with subprocess.Popen(words, cwd=tmp_path, env=environment(store), stderr=subprocess.DEVNULL) as run:
            while stored() < wanted and run.poll() is None:
                time.sleep(0.02)
            run.send_signal(signal.SIGKILL)
    assert not (tmp_path / "out" / "predictions.csv").exists()
    resumed = kras(*AS_WRITTEN, "--out", "out", cwd=tmp_path, store=store)
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "out/predictions.csv").read_bytes() == (done / "predictions.csv").read_bytes()
    assert (tmp_path / "out/metrics.json").read_bytes() == (done / "metrics.json").read_bytes()


def test_an_interrupted_run_ends_with_130_and_one_line(home: Path, done: Path, tmp_path: Path) -> None:
    words = command(
        "run", home / "cohort.csv", "--classifiers", "he", "--config", home / "kras.toml", "--out", tmp_path
    )
    store = tmp_path / "store"
    lay_networks(store)

    def heed_interrupts() -> None:
        # A shell that started the tests in the background made them, and all they start, ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        words, env=environment(store), stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    ) as run:
        while not list(store.glob("*/*/bag.h5")) and run.poll() is None:
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert "run the same command again" in said
    assert "Traceback" not in said


def test_a_dry_run_tells_what_is_stored_and_computes_nothing(home: Path, done: Path, tmp_path: Path) -> None:
    seen = kras("run", "--dry-run", "--json", cwd=home, store=home / "store")
    assert {(s["bag"], s["map"]) for s in json.loads(seen.stdout)["slides"]} == {("stored", "stored")}
    fresh = kras("run", "--dry-run", "--json", cwd=home, store=tmp_path / "store")
    assert {(s["bag"], s["map"]) for s in json.loads(fresh.stdout)["slides"]} == {("compute", "compute")}
    assert not (tmp_path / "store").exists()
    half = json.loads(kras("run", "--dry-run", "--shard", "1/2", "--json", cwd=home, store=home / "store").stdout)
    assert half["fits"] == 0
    assert {s["slide_id"] for s in half["slides"]} < {s["slide_id"] for s in json.loads(seen.stdout)["slides"]}


def test_shards_together_make_what_one_run_makes(home: Path, done: Path, tmp_path: Path) -> None:
    lay_networks(tmp_path / "store")
    for i in (1, 2):
        words = ("run", "--classifiers", "he", "--shard", f"{i}/2", "--out", tmp_path / "out")
        ran = kras(*words, cwd=home, store=tmp_path / "store")
        assert ran.returncode == 0, ran.stderr
    seen = kras("run", "--classifiers", "he", "--dry-run", "--json", cwd=home, store=tmp_path / "store")
    assert {s["bag"] for s in json.loads(seen.stdout)["slides"]} == {"stored"}


def test_a_bundle_scores_its_own_cohort_as_an_external_one(home: Path, done: Path, tmp_path: Path) -> None:
    ran = kras("evaluate", done / "bundle", "cohort.csv", "--out", tmp_path / "ext", cwd=home, store=home / "store")
    assert ran.returncode == 0, ran.stderr
    metrics = json.loads((tmp_path / "ext" / "metrics.json").read_text())
    assert metrics["models"]["ensemble"]["auroc"]["value"] >= 0.85
    assert metrics["all_patients_pooled"]["histology_only"]["n"] == PATIENTS
    shift = {row["what"]: row for row in metrics["external"]["shift"]}
    assert shift["patients seen in training"]["external"] == PATIENTS
    assert shift["mpp (median)"]["internal"] == pytest.approx(0.5)
    assert 0.05 < shift["stain, green (optical density)"]["external"] < 1
    assert {w for w, row in shift.items() if row["warning"]} == {"patients seen in training"}
    rows = read_rows(tmp_path / "ext" / "predictions.csv")
    assert {r["reason"] for r in rows if r["histology"] == "LUSC"} == {"out of scope: LUSC is squamous"}


def test_a_changed_byte_in_the_bundle_is_refused(home: Path, done: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(done / "bundle", bundle)
    victim = next(f for f in sorted(bundle.rglob("*")) if f.is_file() and f.name.endswith(".safetensors"))
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    slide = next((home / "slides").iterdir())
    ran = kras("predict", bundle, slide, "--out", tmp_path / "p", cwd=home, store=home / "store")
    assert ran.returncode == 1
    assert victim.name in ran.stderr


def test_a_bundle_refuses_another_encoder(home: Path, done: Path, tmp_path: Path) -> None:
    slide = next((home / "slides").iterdir())
    other = ("-o", "extractor.vit.weights=random:1")
    ran = kras("predict", done / "bundle", slide, "--out", tmp_path, *other, cwd=home, store=home / "store")
    assert ran.returncode == 1
    assert "the bundle was made with" in ran.stderr


def test_the_real_slide_gets_a_result_a_heat_map_and_its_quality(
    home: Path, done: Path, tmp_path: Path, shared_data: Path
) -> None:
    slide = shared_data / "slides" / "cmu_small_region.svs"
    out = tmp_path / "out"
    ran = kras("predict", done / "bundle", slide, "--out", out, "--json", cwd=home, store=home / "store")
    assert ran.returncode == 0, ran.stderr
    (row,) = json.loads(ran.stdout)
    # It is no lung cancer: the score is given, a call is not.
    assert row["ensemble"] is not None
    assert row["call"] == "not_assessable"
    assert re.search("tissue unlike training|of cancer epithelium, less than 0.1", row["reason"])  # a quarter is unlike
    assert row["qc"] == "pass" or "tissue unlike training" in row["qc"]
    with Image.open(out / "cmu_small_region.attention.png") as heatmap:
        assert heatmap.size[0] > 100
        assert not heatmap.info
    with Image.open(out / "cmu_small_region.attention-tiles.png") as gallery:
        assert gallery.size[0] > 2 * 192
        assert not gallery.info
    features = json.loads((out / "cmu_small_region.attention.geojson").read_text())["features"]
    measured = [f["properties"]["measurements"] for f in features]
    assert sum(tile["attention"] for tile in measured) == pytest.approx(1, abs=1e-4)
    assert len({tile["contribution"] for tile in measured}) > 1
    corners = [xy for f in features for xy in f["geometry"]["coordinates"][0]]
    assert max(x for x, _ in corners) <= 2220 + 224
    assert (
        "Research use only" in (out / "cmu_small_region.html").read_text()
        or "research use" in (out / "cmu_small_region.html").read_text().lower()
    )


def test_a_cohort_of_the_real_slide_and_synthetic_ones_runs_and_sets_broken_ones_aside(
    home: Path, done: Path, tmp_path: Path, shared_data: Path
) -> None:
    rows = read_rows(home / "cohort.csv")
    for r in rows:
        r["path"] = str(home / r["path"])
    real = {**dict.fromkeys(rows[0], ""), "histology": "LUAD", "g12c": "0"}
    real |= {"patient_id": "REAL", "slide_id": "real", "path": str(shared_data / "slides/cmu_small_region.svs")}
    broken = [
        {**real, "patient_id": f"BROKEN{i}", "slide_id": f"broken{i}", "path": str(file)}
        for i, file in enumerate(sorted((shared_data / "slides/broken").iterdir()))
    ]
    blank = {**real, "patient_id": "BLANK", "slide_id": "blank", "path": "blank.png", "mpp": "0.5"}
    Image.new("RGB", (1500, 1500), (243, 243, 244)).save(tmp_path / "blank.png")
    gone = {**real, "patient_id": "GONE", "slide_id": "gone", "path": "gone.svs"}
    odd = {**real, "patient_id": "ODD", "slide_id": "odd", "path": "notes.txt"}
    (tmp_path / "notes.txt").write_text("no slide")
    huge = {**rows[0], "patient_id": "HUGE", "slide_id": "huge", "mpp": "400", "g12c": "0"}
    huge["path"] = str(tmp_path / "huge.tiff")
    shutil.copy(rows[0]["path"], huge["path"])
    write_rows(tmp_path / "cohort.csv", [*rows, real, *broken, blank, gone, odd, huge])
    settle(tmp_path)
    ran = kras("run", "--classifiers", "he,rf", cwd=tmp_path, store=home / "store")
    assert ran.returncode == 3, ran.stderr
    out = tmp_path / "kras-out" / "cohort"
    failures = {r["slide_id"]: r for r in read_rows(out / "failures.csv")}
    assert set(failures) == {"blank", "gone", "odd", "huge", *(b["slide_id"] for b in broken)}
    assert all(r["reason"] and r["hint"] for r in failures.values())
    assert "tissue" in failures["blank"]["reason"]
    assert "No such file" in failures["gone"]["reason"]
    assert "400" in failures["huge"]["reason"]
    predicted = {r["patient_id"] for r in read_rows(out / "predictions.csv")}
    assert "REAL" in predicted
    assert not predicted & {"BLANK", "GONE", "ODD", "HUGE"}
    assert json.loads((out / "metrics.json").read_text())["cohort_flow"]["patients without a usable slide"] == 7
