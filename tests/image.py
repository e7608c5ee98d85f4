"""What a Dockerfile would do, done in a root folder of its own: this machine's, with all changes kept apart from it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STEP = re.compile(r"^([A-Z]+)\s+(.*)$", re.DOTALL)


def steps(dockerfile: Path) -> list[tuple[str, str]]:
    """Instructions and their words, continued lines joined, without comments."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(found[1], found[2]) for line in lines if (found := STEP.match(line))]


@dataclass(frozen=True)
class Root:
    """A root folder in which commands run as root, in their own name space of mounts."""

    folder: Path

    def run(
        self, command: str, variables: Mapping[str, str], *, user: str = "root"
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of shell in it as a user, with these variables alone."""
        words = [
            "chroot",
            f"--userspec={user}",
            str(self.folder),
            "env",
            "-i",
            *(f"{k}={v}" for k, v in variables.items()),
        ]
        return subprocess.run([*words, "sh", "-c", command], capture_output=True, text=True, timeout=600)


def can_overlay() -> bool:
    """Whether this machine lets us lay one root over another: as root, on Linux."""
    command = "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w /mnt/m && " + _overlay("/mnt")
    return subprocess.run(["unshare", "--mount", "sh", "-c", command], capture_output=True).returncode == 0


@contextmanager
def root_over_this(work: Path) -> Iterator[Root]:
    """This machine's root folder, with what is written to it kept in memory until the end."""
    where = str(work)
    subprocess.run(["mount", "-t", "tmpfs", "none", where], check=True)
    try:
        subprocess.run(["sh", "-c", f"cd '{where}' && mkdir u w m && {_overlay(where)}"], check=True)
        try:
            yield Root(work / "m")
        finally:
            subprocess.run(["umount", "--recursive", str(work / "m")], check=True)
    finally:
        subprocess.run(["umount", where], check=True)


def _overlay(where: str) -> str:
    over = f"mount -t overlay overlay -o 'lowerdir=/,upperdir={where}/u,workdir={where}/w' '{where}/m'"
    return " && ".join([over, *(f"mount --bind /{name} '{where}/m/{name}'" for name in ("dev", "proc"))])
