"""A file on object storage or a web server, read by ranges of bytes, as if it were local.

What a reader requests one after the other (headers, directories) is read in blocks that are kept; the longer it reads
on, the more is read ahead. What it requests together (tiles) is read exactly, neighbors in one request, several
requests at once. Nothing is read twice while it is kept, nor by two threads at a time.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

from kras_plugins.errors import SlideError
from kras_plugins.remote.objects import Bucket, Changed, Found, Missing
from kras_plugins.remote.pieces import KEPT, Pieces
from kras_plugins.urls import Url

Span = tuple[int, int]
"""Where bytes begin, and how many they are."""

HEAD = 1 << 20
"""Bytes of the first request: they contain the headers of most files, and what a fingerprint is made from."""
BLOCK = 1 << 16
AHEAD = 1 << 20
"""Most bytes that are read ahead of what was requested."""
GAP = 4096
"""A gap of at most this many bytes between two ranges is read too: another request would cost more."""
LONGEST = 8 << 20
"""Most bytes of one request; more are read in several requests at once."""


class RangeFile(io.RawIOBase):
    """An object of one version: SlideError if it changes while it is read, or cannot be read.

    `size` in bytes, `name` as of a file; `received` bytes so far, in `requests`. `fetch` and `expect` may be called
    from many threads, `read` and `seek` from one. Raises NoRanges at once if the server supports none.
    """

    def __init__(self, url: Url) -> None:
        super().__init__()
        self.url, self.name, self.where = url, url.name, str(url)
        self.received = self.requests = 0
        self._bucket = Bucket(url, SlideError)
        self._lock = threading.Lock()
        self._pieces: Pieces[Span] = Pieces(url, self._read_group, _together, self._in_blocks)
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._at = self._ahead = 0
        self._next = -1
        self._found, head = self._ask(0, HEAD, None)
        self.size: int = self._found.size
        self._keep_blocks(0, head)

    def fetch(self, spans: Sequence[Span]) -> list[bytes]:
        """The bytes of each span, kept or read now; those that another thread is reading are waited for."""
        return self._pieces.fetch(spans)

    def expect(self, spans: Sequence[Span]) -> None:
        """Read spans in advance that `fetch` will ask for one by one."""
        self.fetch(spans)

    def close(self) -> None:
        """Forget what was read; calling it twice is harmless."""
        if not self.closed:
            self._pieces.close()
            with self._lock:
                self._blocks.clear()
        super().close()

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """Anywhere."""
        return True

    def tell(self) -> int:
        """Where the next `read` begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to `offset`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer from the current position, up to the end of the file."""
        end = min(self._at + len(buffer), self.size)
        if end <= self._at:
            return 0
        data = self._through_blocks(self._at, end)
        buffer[: len(data)] = data
        self._at = end
        return len(data)

    def _through_blocks(self, start: int, end: int) -> bytes:
        """Bytes from `start` to before `end`, from blocks that are kept or read now."""
        first, last = start // BLOCK, -(-end // BLOCK)
        with self._lock:
            there = {i: self._blocks[i] for i in range(first, last) if i in self._blocks}
        for run in _runs([i for i in range(first, last) if i not in there]):
            # A read that continues where the last one ended doubles the read-ahead; a jump reads nothing ahead.
            self._ahead = min(max(2 * self._ahead, 2 * BLOCK), AHEAD) if run.start == self._next else 0
            stop = min((run.stop - 1) * BLOCK + BLOCK + self._ahead, self.size)
            there |= self._keep_blocks(run.start, self._get(run.start * BLOCK, stop))
            self._next = -(-stop // BLOCK)
        joined = b"".join(there[i] for i in range(first, last))
        return joined[start - first * BLOCK : end - first * BLOCK]

    def _keep_blocks(self, first: int, data: bytes) -> dict[int, bytes]:
        cut = {first + at // BLOCK: data[at : at + BLOCK] for at in range(0, len(data), BLOCK)}
        with self._lock:
            self._blocks.update(cut)
            while len(self._blocks) * BLOCK > KEPT // 4 and len(self._blocks) > len(cut):
                self._blocks.popitem(last=False)
        return cut

    def _in_blocks(self, span: Span) -> bytes | None:
        """The bytes of a span if they are in kept blocks."""
        start, count = span
        first, last = start // BLOCK, -(-(start + count) // BLOCK)
        with self._lock:
            if any(i not in self._blocks for i in range(first, last)):
                return None
            return b"".join(self._blocks[i] for i in range(first, last))[start - first * BLOCK :][:count]

    def _read_group(self, group: Sequence[Span]) -> list[bytes]:
        start = group[0][0]
        data = self._get(start, max(at + count for at, count in group))
        return [data[at - start : at - start + count] for at, count in group]

    def _get(self, start: int, end: int) -> bytes:
        """Bytes from `start` to before `end`, of the version that was opened."""
        _, data = self._ask(start, end, self._found)
        if len(data) != min(end, self.size) - start:
            raise SlideError(f"{self.url}: its server gave {len(data)} of {end - start} bytes", "run it again")
        return data

    def _ask(self, start: int, end: int, known: Found | None) -> tuple[Found, bytes]:
        try:
            found, data = self._bucket.get(self.url.key, (start, end), None if known is None else known.tag)
            if known is not None and (found.size, found.tag, found.changed) != (known.size, known.tag, known.changed):
                raise Changed
        except Missing:
            gone = "no longer exists" if known else "there is no such object"
            raise SlideError(f"{self.url}: {gone}", "check the address in the cohort") from None
        except Changed:
            raise SlideError(f"{self.url}: was changed while it was read", "run the same command again") from None
        with self._lock:
            self.received += len(data)
            self.requests += 1
        return found, data


def transfer(file: RangeFile) -> Mapping[str, int]:
    """What was read from a file so far, for a manifest: bytes, number of requests, and size of the file."""
    return {"bytes": file.received, "requests": file.requests, "size": file.size}


def _together(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Spans in order, adjacent ones in one group, up to a limit of bytes."""
    group: list[Span] = []
    for at, count in sorted(spans):
        end = group[-1][0] + group[-1][1] if group else 0
        if group and (at - end > GAP or at + count - group[0][0] > LONGEST):
            yield group
            group = []
        group.append((at, count))
    if group:
        yield group


def _runs(numbers: Sequence[int]) -> Iterator[range]:
    """Runs of numbers that follow each other."""
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1:
            yield range(numbers[start], numbers[i - 1] + 1)
            start = i
