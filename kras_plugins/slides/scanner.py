"""Which scanner made a slide, from the facts that a reader passes on."""

from __future__ import annotations

from collections.abc import Mapping

_MAKERS = ("dicom.Manufacturer", "philips.DICOM_MANUFACTURER", "openslide.vendor")
_MODELS = (
    "dicom.ManufacturerModelName", "hamamatsu.Product", "leica.device-model", "ventana.ScannerModel",
    "aperio.ScanScope ID",
)  # fmt: skip
_MOST = 100


def scanner_of(properties: Mapping[str, str]) -> str:
    """Maker and model, or the device, as far as the file says; else its format in parentheses; "" without either."""
    told = [next((properties[key] for key in keys if properties.get(key)), "") for keys in (_MAKERS, _MODELS)]
    words = " ".join(dict.fromkeys(" ".join(told).split()))
    if not words and properties.get("format"):
        words = f"({properties['format']})"
    return "".join(c for c in words if c.isprintable())[:_MOST]
