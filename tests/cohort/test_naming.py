"""Which file is a slide's: own outputs, and those of tools that keep the whole name of a TCGA slide."""

from __future__ import annotations

from pathlib import Path

import pytest

from kras_plugins.cohort.naming import Named, file_of
from kras_plugins.errors import SlideError
from kras_plugins.store import safe_name

BARCODE = "TCGA-05-4244-01Z-00-DX1"
UUID = "d4ff32cd-38cf-40ea-8213-45c2b100ac01"
OTHER = "0b6d8e1c-0000-4000-8000-45c2b100ac01"


def named(*names: str | tuple[str, str]) -> list[Named]:
    """Files by name, those of a pair with the id that they state."""
    pairs = [(name, None) if isinstance(name, str) else name for name in names]
    return [Named(Path(f"bags/{name}.h5"), name, stated) for name, stated in pairs]


def found(slide_id: str, files: list[Named]) -> str | None:
    file = file_of(slide_id, files)
    return None if file is None else file.name


@pytest.mark.parametrize("slide_id", ["s", "a b", "2021/17", "ü#1", "..", "a.b", "x" * 120])
def test_a_file_named_as_we_write_ids_is_found_whatever_characters_the_id_has(slide_id: str) -> None:
    assert found(slide_id, named("other", safe_name(slide_id))) == safe_name(slide_id)
    assert found(slide_id, named("other", ("renamed", slide_id))) == "renamed"


@pytest.mark.parametrize("ending", ["", ".svs"])
@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        (BARCODE, f"{BARCODE}.{UUID}"),
        (f"{BARCODE}.{UUID}", BARCODE),
        (f"{BARCODE}.{UUID}", f"{BARCODE}.{UUID.upper()}"),
    ],
)
def test_a_tcga_slide_is_found_with_and_without_its_uuid(wanted: str, there: str, ending: str) -> None:
    others = ("TCGA-05-4244-01Z-00-DX2." + UUID, "TCGA-05-4245-01Z-00-DX1")
    assert found(wanted, named(*others, there + ending)) == there + ending
    assert found(wanted, named(*others, ("x", there))) == "x"


def test_the_whole_name_wins_over_the_name_without_its_uuid() -> None:
    files = named(f"{BARCODE}.{UUID}", f"{BARCODE}.{OTHER}")
    assert found(f"{BARCODE}.{OTHER}", files) == f"{BARCODE}.{OTHER}"
    assert found(f"{BARCODE}.{OTHER}", files[:1]) is None
    with pytest.raises(SlideError, match=f"{UUID}.h5 and {BARCODE}.{OTHER}.h5 both belong to slide {BARCODE}"):
        file_of(BARCODE, files)


def test_what_a_file_states_goes_before_its_name() -> None:
    assert found("a", named(("a", "b"), ("b", "a"))) == "b"
    assert found("b", named(("a", "b"), ("b", "a"))) == "a"
    assert found("a", named(("a", "old name"))) == "a"


def test_two_files_of_one_slide_are_named_both() -> None:
    with pytest.raises(SlideError, match=r"a\.h5 and copy\.h5 \(which states a\) both belong to slide a") as e:
        file_of("a", named("a", ("copy", "a"), "b"))
    assert "keep one" in e.value.hint


def test_ids_that_differ_in_case_alone_are_two_slides() -> None:
    assert found("Case1", named("case1", "Case1")) == "Case1"
    assert found("b", named("a")) is None
    for there in ("case1", ("x", "CASE1")):
        with pytest.raises(SlideError, match=r"differs from slide Case1 only in upper and lower case"):
            file_of("Case1", named(there))
