"""The kind of a QuPath object by its type: an annotation, a cell, a detection, or something that does not count."""

from __future__ import annotations

from typing import Literal

Kind = Literal["annotation", "cell", "detection", "other"]

_OTHER = ("tile", "root", "tmacore", "image")


def kind_of(object_type: str) -> Kind:
    """The kind from a text such as `cell`, `PathAnnotationObject` or `TMA core`; without a text, a detection."""
    text = object_type.lower().replace(" ", "").replace("_", "").removeprefix("path").removesuffix("object")
    if "annotation" in text:
        return "annotation"
    if "cell" in text:
        return "cell"
    return "other" if text in _OTHER else "detection"


def is_cell(object_type: str) -> bool:
    """Whether an object of this type counts as a cell."""
    return kind_of(object_type) in ("cell", "detection")
