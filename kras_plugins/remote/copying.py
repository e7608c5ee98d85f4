"""Objects copied whole to this disk, in parts that are fetched in parallel, all of one version."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO

from kras_plugins.remote.objects import Bucket, Changed, NoRanges

PART = 16 << 20
"""Bytes of a part: a few seconds of a usual connection, so that an interruption costs no more."""
CONNECTIONS = 4


def download(
    bucket: Bucket, key: str, file: Path, done: Callable[[int, int], None] = lambda _done, _total: None
) -> int:
    """Write an object into a new file and return its size. `done`: called with bytes received and bytes in all.

    Raises Missing, Changed where it was replaced meanwhile, NoRanges where a large one comes from a server without
    byte ranges, what Bucket raises, and OSError of the disk.
    """
    try:
        found, first = bucket.get(key, (0, PART))
    except NoRanges:  # or an empty object, which has no range: then request all of it
        found, first = bucket.get(key)
    with file.open("xb") as out:
        out.write(first)
        there = len(first)
        done(there, found.size)
        if there < found.size:
            there += _rest(bucket, key, out, (there, found.size), found.tag, done)
    if there != found.size:
        raise Changed
    return there


def _rest(
    bucket: Bucket, key: str, out: IO[bytes], span: tuple[int, int], tag: str | None, done: Callable[[int, int], None]
) -> int:
    begin, size = span
    lock = threading.Lock()

    def part(start: int) -> int:
        _, content = bucket.get(key, (start, min(start + PART, size)), tag)
        with lock:
            out.seek(start)
            return out.write(content)

    written = 0
    with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="kras-copy") as pool:
        parts = [pool.submit(part, start) for start in range(begin, size, PART)]
        try:
            for one in as_completed(parts):
                written += one.result()
                done(begin + written, size)
        except BaseException:
            for one in parts:
                one.cancel()
            raise
    return written
