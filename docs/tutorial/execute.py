"""Executes the notebook of the tutorial, which makes its outputs: `make notebook`.

    python docs/tutorial/execute.py [OUT]

OUT: where the notebook is written with its outputs, by default where it lies. It runs in a folder of its own, in two
minutes. What would be another at each call is left out: bars and their widgets, times, versions.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")


def executed(notebook: Any, folder: Path) -> Any:
    """The notebook with the outputs that it makes in `folder`; raises CellExecutionError for a cell that fails."""
    client = NotebookClient(
        notebook,
        timeout=1200,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _kept(output)]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def _kept(output: Any) -> bool:
    """Whether an output is a result: no line of a log, no widget, which shows nothing in a file."""
    if output.output_type == "stream":
        return bool(output.name == "stdout")
    return "application/vnd.jupyter.widget-view+json" not in output.get("data", {})


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOK
    with tempfile.TemporaryDirectory() as folder:
        done = executed(nbformat.read(NOTEBOOK, as_version=4), Path(folder))
    nbformat.write(done, out)
