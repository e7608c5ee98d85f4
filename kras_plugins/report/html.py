"""Self-contained HTML: templates, numbers as text, images inside the page, one write for the whole file."""

from __future__ import annotations

import base64
import io
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup, escape

from kras_plugins.evaluation.auroc import CONSTANT, EXACT
from kras_plugins.files.atomic import write_atomic
from kras_plugins.report.style import model_label
from kras_plugins.report.terms import population_label

if TYPE_CHECKING:
    from PIL.Image import Image

    from kras_plugins.data import UInt8

NONE = "–"
"""Shown where a number could not be computed."""

MINUS = "−"

Table = tuple[list[str], list[list[str]]]
"""Headers and rows of cells."""

_INTERVAL = re.compile(r"(\([−\d][^()]{0,14}(?:–| to )[^()]{0,20}\))")

_HEADERS = {
    "n": "Patients", "what": "What", "factor": "Factor", "level": "Level", "over": "Added to", "value": "Value",
    "minimum_detectable": "Found with 80 % power if", "p_association": "p (association with target)",
    "auroc_base": "AUROC without", "auroc_with": "AUROC with", "delta_auroc": "Gain in AUROC",
    "n_positive": "Positive", "auroc": "AUROC (95 % interval)", "auprc": "AUPRC (95 % interval)",
    "p": "p", "luad_n": "Adenocarcinoma: patients", "luad_n_positive": "Adenocarcinoma: positive",
    "luad_auroc": "Adenocarcinoma: AUROC (95 % interval)", "p_delta": "p (gain)", "se": "Standard error, widened",
    "by_patient": "By patient", "by_site": "By site", "sites": "Sites", "with_positives": "Sites with positives",
    "inflation": "Widened by", "used": "Used",
    "auroc_rest": "AUROC of the rest",
    "delta_auprc": "Difference in AUPRC", "population": "Patients are", "coefficient": "Weight of the score",
    "p_holm": "p (Holm)", "p_interaction": "p (interaction)", "a": "Model", "b": "Compared with",
    "delta": "Difference in AUROC", "slide_id": "Slide", "patient_id": "Patient", "qc": "QC",
}  # fmt: skip


def number(value: object, digits: int = 3) -> str:
    """A number with fixed decimals; a dash for null, NaN, infinity or anything that is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return NONE
    text = f"{value:.{digits}f}"
    return (text if float(text) else text.lstrip("-")).replace("-", MINUS)


def significant(value: object, digits: int = 3, sign: bool = False) -> str:
    """A number with `digits` significant digits, never as a power of ten; a dash for anything but a finite number.

    Integers, and numbers with more digits before the point, have no decimals. `sign`: positive ones get a plus.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return NONE
    power = math.floor(math.log10(abs(value))) if value else 0
    decimals = 0 if isinstance(value, int) else min(max(digits - 1 - power, 0), 9)
    text = f"{value:{'+' if sign else ''},.{decimals}f}"
    return text.replace("-", MINUS) if any(c in text for c in "123456789") else "0"


def percent(value: object, digits: int = 1) -> str:
    """A share of one, or an estimate of one with its interval, in percent; a dash where there is none."""
    if not isinstance(value, Mapping):
        known = isinstance(value, int | float) and not isinstance(value, bool)
        text = number(100 * value if known else None, digits)  # type: ignore[operator]
        return NONE if text == NONE else f"{text} %"
    mid, low, high = (percent(value.get(key), digits) for key in ("value", "low", "high"))
    return mid if NONE in (low, high) else f"{mid} ({low[:-2]}–{high[:-2]})"


def p_value(value: object) -> str:
    """A p value as it is customarily printed."""
    text = number(value)
    return "<\N{NO-BREAK SPACE}0.001" if text != NONE and float(text) < 0.001 else text


def estimate(value: object, digits: int = 3) -> str:
    """`{"value", "low", "high"}` as `0.745 (0.617–0.873)`, saying so where there is no interval or no value.

    Scores that are the same for everyone are marked as constant, and an exact bound as exact.
    """
    if not isinstance(value, Mapping):
        return number(value, digits)
    mid, low, high = (number(value.get(key), digits) for key in ("value", "low", "high"))
    note = str(value.get("note") or "")
    if mid == NONE:
        return note or "not estimable"
    if CONSTANT in note:
        return f"{mid} (constant score)"
    if NONE in (low, high):
        return f"{mid} ({note or 'no interval'})"
    exact = ", exact" if EXACT in note else ""
    return f"{mid} ({low}{' to ' if MINUS in low + high else '–'}{high}{exact})"


def table(rows: Iterable[object], first: Sequence[str] = ()) -> Table:
    """Headers and cells of a list of JSON objects: a column for each key, those of `first` in front.

    An AUROC never stands alone: where a row has one, the columns for patients and positives exist, and say so
    when they are not stated. Columns without any value are left out. A row that is plain text becomes one cell.
    """
    objects = [row if isinstance(row, Mapping) else {"": row} for row in rows if row is not None]
    keys = [key for key in first if any(row.get(key) not in (None, "") for row in objects)]
    if any("auroc" in row for row in objects):
        keys += [key for key in ("n", "n_positive") if key not in keys]
    keys += dict.fromkeys(
        key for row in objects for key, value in row.items() if value not in (None, "") and key not in keys
    )
    # Explanations come after the numbers.
    keys.sort(key=lambda key: key == "note")
    return [_header(key) for key in keys], [[_cell(key, row.get(key)) for key in keys] for row in objects]


def _header(key: str) -> str:
    text = key.replace("_", " ")
    return _HEADERS.get(key, text[:1].upper() + text[1:])


def _cell(key: str, value: object) -> str:
    if value is None:
        return "not stated" if key in ("n", "n_positive") else NONE
    if key in ("a", "b", "model", "name"):
        return model_label(str(value))
    if key == "population":
        return population_label(str(value))
    if key == "p" or key.startswith("p_"):
        return p_value(value)
    if key in ("auroc", "auprc") and not isinstance(value, Mapping):
        return estimate({"value": value})
    if isinstance(value, Mapping):
        return estimate(value) if "value" in value else "; ".join(f"{k}: {_cell(k, v)}" for k, v in value.items())
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple):
        return "; ".join(_cell("", v) for v in value)
    return str(value)


def whole(text: object) -> Markup:
    """Text as HTML in which an interval in parentheses is never broken across two lines."""
    return Markup(_INTERVAL.sub(r'<span class="whole">\1</span>', str(escape(text))))


def data_uri(image: Image) -> str:
    """A drawing as a PNG data URI without any metadata."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode("ascii")


def photo_uri(pixels: UInt8) -> str:
    """Tissue, uint8[h w 3], as a JPEG data URI without any metadata: a fifth of what PNG takes."""
    from PIL import Image as images

    buffer = io.BytesIO()
    images.fromarray(pixels).save(buffer, format="JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def png_bytes(image: Image) -> bytes:
    """PNG of the pixels alone: text chunks, EXIF, ICC profile and time stamps of the source are not carried over."""
    from PIL import Image as images

    bare = images.frombytes(image.mode, image.size, image.tobytes())
    buffer = io.BytesIO()
    # Run lengths of filtered rows: a fifth of the time of zlib's default, and files 7 % larger.
    bare.save(buffer, format="PNG", compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def write_page(path: Path, template: str, view: Mapping[str, Any]) -> Path:
    """Render `template` with `view` and write it whole or not at all; raises StoreError when it cannot be written."""
    write_atomic(path, rendered(template, view))
    return path


def rendered(template: str, view: Mapping[str, Any], *, beside: Path | None = None) -> str:
    """The page that `template` makes of `view`; `beside`: a folder of templates that build on those of reports."""
    return _environment(beside).get_template(template).render(view)


@cache
def _environment(beside: Path | None) -> jinja2.Environment:
    folders = [folder for folder in (beside, Path(__file__).parent / "templates") if folder is not None]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": number, "percent": percent, "p_value": p_value, "estimate": estimate, "label": model_label,
        "whole": whole, "significant": significant,
    }  # fmt: skip
    return environment
