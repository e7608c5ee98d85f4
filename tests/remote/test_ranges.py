"""A file read by ranges: the same bytes as on the disk, few and exact requests, and one version of it alone."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from range_server import Behavior, range_server

from kras_plugins.errors import SlideError
from kras_plugins.remote import objects, pieces, ranges
from kras_plugins.remote.objects import NoRanges
from kras_plugins.remote.ranges import RangeFile
from kras_plugins.urls import Url

SIZE = 5_000_000
CONTENT = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8).tobytes()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Url, Behavior]]:
    """A file of random bytes on a server, which is asked again without much patience."""
    hasty = {"init_backoff": timedelta(milliseconds=2), "max_backoff": timedelta(milliseconds=20), "base": 2}
    monkeypatch.setattr(objects, "RETRY", objects.RETRY | {"backoff": hasty, "max_retries": 6})
    objects._opened.cache_clear()
    (tmp_path / "a b.bin").write_bytes(CONTENT)
    with range_server(tmp_path) as (address, behavior):
        yield Url(f"{address}/a%20b.bin"), behavior
    objects._opened.cache_clear()


def test_reads_seeks_and_spans_give_the_bytes_of_the_file(served: tuple[Url, Behavior]) -> None:
    rng = random.Random(1)
    with RangeFile(served[0]) as file:
        assert (file.size, file.name) == (SIZE, "a b.bin")
        here = io.BytesIO(CONTENT)
        for _ in range(60):
            start, count = rng.randrange(SIZE + 9), rng.choice([0, 1, 100, 70_000, 2_000_000])
            assert file.seek(start) == here.seek(start)
            assert file.read(count) == here.read(count)
            assert file.tell() == here.tell()
        spans = [(rng.randrange(SIZE - 9000), rng.randrange(1, 9000)) for _ in range(80)]
        assert file.fetch(spans) == [CONTENT[at : at + count] for at, count in spans]
        assert file.seek(-5, io.SEEK_END) == SIZE - 5 and file.read() == CONTENT[-5:]


def test_neighbors_come_in_one_request_and_what_is_kept_in_none(served: tuple[Url, Behavior]) -> None:
    url, behavior = served
    with RangeFile(url) as file:
        spans = [(2_000_000 + 1000 * i, 1000) for i in range(50)]
        before = len(behavior.asked)
        file.expect(spans)
        assert [asked[2] for asked in behavior.asked[before:]] == ["bytes=2000000-2049999"]
        assert file.fetch([spans[7]]) == [CONTENT[2_007_000:2_008_000]]
        file.expect([(100, 50)])  # in the head, which came first
        assert len(behavior.asked) == before + 1
        far = [(3_000_000, 10), (4_000_000, 10), (4_900_000, 10)]
        file.expect(far)
        assert len(behavior.asked) == before + 1 + len(far)
        assert file.received == behavior.sent == ranges.HEAD + 50_000 + 30
        assert file.requests == len(behavior.asked)


def test_what_is_read_on_and_on_comes_in_fewer_and_fewer_requests(served: tuple[Url, Behavior]) -> None:
    with RangeFile(served[0]) as file:
        file.seek(ranges.HEAD)
        while file.read(1000):
            pass
        assert file.requests <= 10
        assert file.received == SIZE


def test_two_threads_that_want_the_same_bytes_read_them_once(served: tuple[Url, Behavior]) -> None:
    url, behavior = served
    behavior.delay = 0.05
    with RangeFile(url) as file:
        got: list[bytes] = []
        threads = [threading.Thread(target=lambda: got.extend(file.fetch([(3_000_000, 500)]))) for _ in range(6)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert got == [CONTENT[3_000_000:3_000_500]] * 6
        assert file.requests == 2


def test_requests_go_side_by_side(served: tuple[Url, Behavior]) -> None:
    url, behavior = served
    with RangeFile(url) as file:
        behavior.delay = 0.1
        most, now, lock = [0], [0], threading.Lock()
        get = file._bucket.get

        def counted(*args: object, **kwargs: object) -> object:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            try:
                return get(*args, **kwargs)  # type: ignore[arg-type]
            finally:
                with lock:
                    now[0] -= 1

        file._bucket.get = counted  # type: ignore[method-assign, assignment]
        file.expect([(2_000_000 + 100_000 * i, 10) for i in range(16)])
        assert most[0] == pieces.CONNECTIONS


@pytest.mark.parametrize("etags", [True, False])
def test_an_object_that_changes_in_mid_read_is_told(served: tuple[Url, Behavior], etags: bool) -> None:
    url, behavior = served
    behavior.etags, behavior.changes_after = etags, 2
    with RangeFile(url) as file:
        file.fetch([(2_000_000, 10)])
        with pytest.raises(SlideError, match="was changed while it was read"):
            file.fetch([(3_000_000, 10)])
    if etags:
        assert behavior.asked[-1][3] == 412  # asked for with If-Match


def test_a_busy_server_is_waited_for(served: tuple[Url, Behavior]) -> None:
    url, behavior = served
    behavior.statuses = [503, (429, 1), 500]
    with RangeFile(url) as file:
        behavior.statuses = [429, 429, 503]
        assert file.fetch([(2_000_000, 10)]) == [CONTENT[2_000_000:2_000_010]]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (429, r"busy or failed repeatedly \(429 Too Many Requests\)"),
        (503, r"busy or failed repeatedly \(503"),
        (401, r"needs credentials \(401"),
        (403, r"may not do that, or have expired \(403"),
        (404, "no such object"),
        (410, "410 Gone"),
    ],
)
def test_each_answer_that_ends_it_is_told_without_the_signature(
    served: tuple[Url, Behavior], status: int, why: str
) -> None:
    url, behavior = served
    behavior.statuses = [status] * 50
    with pytest.raises(SlideError, match=why) as e:
        RangeFile(Url(f"{url.text}?X-Amz-Signature=5ec2e7"))
    assert "5ec2e7" not in str(e.value) and e.value.hint and e.value.__cause__ is None
    assert "/a%20b.bin" in e.value.message


def test_a_token_that_expires_in_mid_read_is_told(served: tuple[Url, Behavior]) -> None:
    url, behavior = served
    with RangeFile(url) as file:
        behavior.statuses, behavior.says = [403] * 50, "<Error><Message>Request has expired</Message></Error>"
        with pytest.raises(SlideError, match="the signed address have expired"):
            file.fetch([(3_000_000, 10)])


def test_a_server_without_ranges_is_told_at_once(served: tuple[Url, Behavior]) -> None:
    url, behavior = served
    behavior.ranges = False
    with pytest.raises(NoRanges):
        RangeFile(url)


def test_bodies_that_break_off_are_read_on(served: tuple[Url, Behavior]) -> None:
    url, behavior = served
    with RangeFile(url) as file:
        behavior.cut = 400
        assert file.fetch([(2_000_000, 1000)]) == [CONTENT[2_000_000:2_001_000]]


def test_no_server_is_a_slide_error_that_names_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "RETRY", objects.RETRY | {"max_retries": 0})
    objects._opened.cache_clear()
    with pytest.raises(SlideError, match=r"http://127\.0\.0\.1:9/x\.svs"):
        RangeFile(Url("http://127.0.0.1:9/x.svs"))
    objects._opened.cache_clear()


def test_who_waits_for_bytes_of_a_file_that_is_closed_learns_it(served: tuple[Url, Behavior]) -> None:
    file = RangeFile(served[0])
    file.close()
    file.close()
    with pytest.raises(SlideError, match="was closed"):
        file.fetch([(1, 2)])


def test_a_password_goes_to_its_host_and_not_along_with_a_redirect(
    served: tuple[Url, Behavior], tmp_path: Path
) -> None:
    url, behavior = served
    with range_server(tmp_path) as (other, elsewhere):
        with RangeFile(Url(url.text.replace("//", "//me:hunter2@"))) as file:
            assert behavior.headers[-1]["authorization"] == "Basic bWU6aHVudGVyMg=="
            behavior.moved_to = other.replace("127.0.0.1", "localhost")
            assert file.fetch([(2_000_000, 10)]) == [CONTENT[2_000_000:2_000_010]]
        assert elsewhere.asked and "authorization" not in elsewhere.headers[-1]
