"""What pages of the documentation take for granted: a small drawn cohort under the names that the pages use."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cohorts import read_rows, write_rows
from PIL import Image

from kras_plugins.testing import draw_cohort

PATIENTS, POSITIVES, SIDE_UM = 20, 10, 832.0
SETTINGS = """
[extractor.vit]
model = "vit-mini"
[classifier.he]
seeds = 1
epochs = 5
[classifier.mlp]
seeds = 1
epochs = 20
[classifier.rf]
trees = 50
jobs = 1
"""
"""Lays small models under every page, so that what is shown at full size takes seconds."""


def draw(folder: Path) -> None:
    """The cohort that all pages share, drawn once."""
    draw_cohort(folder, patients=PATIENTS, positives=POSITIVES, size_um=(SIDE_UM, SIDE_UM), processes=1)


def study(drawn: Path, folder: Path, store: Path) -> None:
    """`cohort.csv` with its slides, quick settings, and a few slides and cohorts by the names that pages use."""
    shutil.copytree(drawn, folder, dirs_exist_ok=True)
    quick_settings(folder)
    (folder / "store").symlink_to(store)
    slides = sorted((folder / "slides").iterdir())
    for name, slide in zip(("slide.svs", "other.svs", "new_slide.svs", "slide-7.svs"), slides, strict=False):
        shutil.copy(slide, folder / name)
    shutil.copy(folder / "cohort.csv", folder / "other_hospital.csv")
    names = sorted({row["patient_id"] for row in read_rows(folder / "cohort.csv")})
    clinic = [{"patient_id": n, "age": str(50 + i % 30), "stage": "I" * (1 + i % 2)} for i, n in enumerate(names)]
    write_rows(folder / "clinic_and_genes.csv", clinic)


def barcoded(folder: Path) -> None:
    """The same patients under TCGA barcodes: mutation tables, lists of sequenced cases, a map of sites, slides."""
    patients: dict[str, dict[str, str]] = {}
    for row in read_rows(folder / "cohort.csv"):
        patients.setdefault(row["patient_id"], row)
    (folder / "slides").rename(folder / "drawn")
    (folder / "slides").mkdir()
    calls: dict[str, list[str]] = {"luad": [], "lusc": []}
    names: dict[str, list[str]] = {"luad": [], "lusc": []}
    for i, row in enumerate(patients.values()):
        name = f"TCGA-{row['site'][:2].upper()}-{i:04d}"
        kind = row["histology"].lower()
        names[kind].append(f"{name}-01")
        changes = [("KRAS", row["kras_hgvsp"])] if row["kras_hgvsp"] else []
        calls[kind] += [f"{g}\t{name}-01\tMissense_Mutation\t{c}" for g, c in [*changes, ("TP53", "p.R175H")]]
        slide = folder / "drawn" / Path(row["path"]).name
        shutil.copy(slide, folder / "slides" / f"{name}-01Z-00-DX1.{i:08d}-0000-0000-0000-000000000000.tiff")
    header = "Hugo_Symbol\tTumor_Sample_Barcode\tVariant_Classification\tHGVSp_Short"
    for kind, rows in calls.items():
        text = "\n".join([header, *rows]) + "\n"
        (folder / f"{kind}.maf.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        (folder / kind / "case_lists").mkdir(parents=True)
        (folder / kind / "data_mutations.txt").write_text(text)
        (folder / kind / "case_lists" / "cases_sequenced.txt").write_text("\n".join(names[kind]) + "\n")
    codes = sorted({name[5:7] for name in (*names["luad"], *names["lusc"])})
    sites = "".join(f"{code},Hospital {i // 2}\n" for i, code in enumerate(codes))
    (folder / "sites.csv").write_text(f"code,institution\n{sites}")
    (folder / "cases.txt").write_text("\n".join([*names["luad"], *names["lusc"]]) + "\n")


def hospital(folder: Path) -> None:
    """The cohort as it was before it got barcodes, for another hospital, with its slides where `barcoded` puts them."""
    rows = read_rows(folder / "other_hospital.csv")
    write_rows(folder / "hospital.csv", [row | {"path": row["path"].replace("slides/", "drawn/")} for row in rows])


def labelled_tiles(folder: Path) -> None:
    """Tiles of two classes, and an encoder as `kras pretrain` writes it, which no setting contradicts."""
    from kras_plugins.pretraining.network import build
    from kras_plugins.pretraining.recipe import Recipe
    from kras_plugins.pretraining.weights import describe, write_weights

    rng = np.random.default_rng(0)
    for label, strength in (("dark", 150), ("pale", 60)):
        (folder / "labelled-tiles" / label).mkdir(parents=True)
        for i in range(12):
            tile = 250 - rng.random((48, 48, 1)) * strength * np.array([0.6, 1.0, 0.5])
            Image.fromarray(tile.astype(np.uint8)).save(folder / "labelled-tiles" / label / f"{i}.png")
    (folder / "kras.toml").write_text(SETTINGS[SETTINGS.index("[classifier.he]") :])
    recipe = Recipe(arguments={"depth": 1, "embed_dim": 24, "num_heads": 2, "patch_size": 16}, px=112, head=(8, 8, 8))
    write_weights(folder / "own.safetensors", build(recipe), describe(recipe, 24, "CC0", {}), "f32")


def fields(folder: Path) -> None:
    """Three fields of 128 µm cut from the middle of a drawn slide."""
    (folder / "fields").mkdir(exist_ok=True)
    with Image.open(folder / "slide.svs") as slide:
        middle = slide.width // 2
        for k, name in enumerate("abc"):
            left = middle - 384 + 256 * k
            slide.crop((left, middle - 128, left + 256, middle + 128)).save(folder / "fields" / f"{name}.png")
    names = zip(("p1", "p1", "p2"), "abc", strict=True)
    write_rows(
        folder / "fields.csv",
        [{"patient_id": p, "slide_id": f"{p}-{n}", "path": f"fields/{n}.png", "mpp": "0.5"} for p, n in names],
    )


def exported_cells(folder: Path) -> None:
    """Cells of each slide as QuPath exports them: octagons of 8 µm, more lymphocytes where g12c is 1.

    They cover 0.3 mm², of which tumor cells are dense enough on 0.13 mm² or more for the slide to be in scope.
    """
    (folder / "exports").mkdir()
    rng = np.random.default_rng(0)
    of_cohort = [(row["slide_id"], 0.5, int(row["g12c"])) for row in read_rows(folder / "cohort.csv")]
    for name, mpp, label in [*of_cohort, ("slide-7", 0.25, 0)]:
        turn = np.arange(8) * np.pi / 4
        octagon = np.stack([np.cos(turn), np.sin(turn)], 1) * 4 / mpp
        cells = []
        for x, y in rng.integers(80, 1180, (480, 2)).tolist():
            ring = (octagon + np.array([x, y])).round(1).tolist()
            kind = "Lymphocyte" if rng.random() < 0.2 + 0.15 * label else "Tumor"
            cells.append(
                {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
                    "properties": {"objectType": "detection", "classification": {"name": kind}},
                }
            )
        text = json.dumps({"type": "FeatureCollection", "features": cells})
        (folder / "exports" / f"{name}.geojson.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def tables(folder: Path) -> None:
    """Finished features of two strata, whose column names differ by an ending, and one table of all slides."""
    rng = np.random.default_rng(0)
    rows = read_rows(folder / "cohort.csv")
    made = {row["slide_id"]: rng.normal(size=8) + 2 * int(row["g12c"]) * np.eye(8)[0] for row in rows}
    for file, kind, ending in (("luad", "LUAD", "_HE"), ("lusc", "LUSC", "_FFPE"), ("features", "", "")):
        wanted = [row for row in rows if row["histology"] == kind or not kind]
        values = [{f"DENSITY {k}{ending}": f"{v:.4f}" for k, v in enumerate(made[r["slide_id"]])} for r in wanted]
        write_rows(
            folder / f"{file}.csv", [{"slide_id": r["slide_id"]} | v for r, v in zip(wanted, values, strict=True)]
        )
        (folder / f"{file}.csv.gz").write_bytes(gzip.compress((folder / f"{file}.csv").read_bytes(), mtime=0))


def arrivals(folder: Path) -> None:
    """A cohort of 60 patients with finished features and no slides, 60 who came later, and labels of 55 of these."""
    rng = np.random.default_rng(0)
    for name, table, prefix in (("cohort", "features", "t"), ("spring", "spring_features", "n")):
        ids, labels = [f"{prefix}{i:02d}" for i in range(60)], [int(i % 3 == 0) for i in range(60)]
        rows = [{"patient_id": n, "slide_id": n, "histology": "LUAD"} for n in ids]
        known = [{"g12c": str(label)} for label in labels] if name == "cohort" else [{}] * 60
        write_rows(folder / f"{name}.csv", [row | label for row, label in zip(rows, known, strict=True)])
        made = [rng.normal(size=8) + 2 * label * np.eye(8)[0] for label in labels]
        values = [{f"DENSITY {k}": f"{v:.4f}" for k, v in enumerate(one)} for one in made]
        write_rows(folder / f"{table}.csv", [{"slide_id": n} | v for n, v in zip(ids, values, strict=True)])
        if name == "spring":
            arrived = [{"patient_id": n, "g12c": str(y)} for n, y in zip(ids, labels, strict=True)]
            write_rows(folder / "sequenced.csv", arrived[:55])


def quick_settings(folder: Path) -> None:
    """The settings that other setups may have taken away."""
    (folder / "kras.toml").write_text(SETTINGS)


def service(folder: Path) -> None:
    """A service's folder with one patient, `patient-7`, who was scored."""
    from left_results import left
    from made_cases import fake_case
    from service_cases import scored

    from kras_plugins.service import cases, leases
    from kras_plugins.service.database.engine import open_database
    from kras_plugins.service.database.migrate import upgrade
    from kras_plugins.service.settings import ServiceSettings

    settings = ServiceSettings(data=folder / "kras-service")
    db = open_database(settings.database_url)
    upgrade(db)
    slide = cases.NewSlide(slide_id="slide-7", name="slide-7", place=str(folder / "a.svs"), fingerprint="f", bytes=1)
    new = cases.NewCase(patient="patient-7", patient_id="patient-7", slides=(slide,), bundle_digest="b" * 64)
    cases.submit(db, new, "page")
    held = leases.claim(db, "page", 60.0)
    assert held is not None
    where = f"{held.case.id}/{held.token}"
    left(settings.results / where, fake_case("patient-7", "slide-7"))
    assert leases.commit(db, held, scored(where))
    db.dispose()


SETUPS: dict[str, Callable[[Path], None]] = {
    "quick settings": quick_settings,
    "barcoded": barcoded,
    "hospital": hospital,
    "labelled tiles": labelled_tiles,
    "exported cells": exported_cells,
    "fields": fields,
    "tables": tables,
    "service": service,
    "arrivals": arrivals,
}
