"""Wheels with which `gpu.py` runs `kras` on a machine that has PyTorch and timm, but no network.

    python benchmarks/gpu_wheels.py        here, where the package index can be reached

This builds the wheel of this checkout, downloads what it needs beyond the packages in PyTorch's usual images
(numpy, scipy, scikit-learn, scikit-image, numba, h5py, pyarrow, pillow, tifffile, safetensors, pluggy, packaging,
filelock, rich, typer), in the versions installed here, and prints what to run there. OpenSlide, OpenVINO, LightGBM and
Triton's client are not included: blocks read with reader `tiff` and compute with engine `torch`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "gpu-wheels"
PACKAGES = (
    "pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions", "platformdirs",
    "imagecodecs",
)  # fmt: skip
"""What `gpu_kras.py` imports and such an image lacks; it has typing-extensions, but maybe too old for pydantic."""
LIMIT = 45 << 20
"""Bytes that may be transferred to a borrowed machine besides the checkout."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to put them (an ignored folder)")
    parser.add_argument("--python", default="3.12", help="the other machine's Python")
    args = parser.parse_args()
    shutil.rmtree(args.folder, ignore_errors=True)
    run("hatchling", "build", "-t", "wheel", "-d", str(args.folder))
    run(*download(args.folder, args.python))
    print(f"{size(args.folder) / 2**20:.1f} MiB in {args.folder}; there, in the folder of the checkout:\n")
    print(order(args.folder))


def download(folder: Path, python: str) -> list[str]:
    """Arguments for pip: the packages as installed here, as wheels for another Python on Linux."""
    pinned = [f"{name}=={metadata.version(name)}" for name in PACKAGES]
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    words = ["pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--implementation", "cp"]
    return [*words, "--python-version", python, *platforms, "--dest", str(folder), *pinned]


def run(*words: str) -> None:
    subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True)


def size(folder: Path) -> int:
    """Bytes of the wheels; ends the program if one is missing or they are too large to transfer."""
    wheels = list(folder.glob("*.whl"))
    found = {file.name.split("-")[0].replace("_", "-") for file in wheels}
    if missing := {"kras", *PACKAGES} - found:
        sys.exit(f"{folder}: no wheel of {', '.join(sorted(missing))}")
    total = sum(file.stat().st_size for file in wheels)
    if total > LIMIT:
        largest = max(wheels, key=lambda file: file.stat().st_size)
        sys.exit(f"{folder}: {total / 2**20:.1f} MiB, at most {LIMIT >> 20} allowed; the largest is {largest.name}")
    return total


def order(folder: Path) -> str:
    """The command for the other machine: it installs beside what is there, then measures and keeps the results."""
    wheels = folder.resolve().relative_to(ROOT) if folder.resolve().is_relative_to(ROOT) else folder.resolve()
    return (
        f"python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --find-links {wheels} "
        f"--target /tmp/site {' '.join(('kras', *PACKAGES))}; export PYTHONPATH=/tmp/site PYTHONUNBUFFERED=1; "
        "timeout 570 python3 benchmarks/gpu.py --device cuda --out /tmp/gpu --minutes 8; "
        'cp /tmp/gpu/gpu.* "${OUT:-.}"; tar cf "${OUT:-.}/blocks.tar" -C /tmp/gpu blocks'
    )


if __name__ == "__main__":
    main()
