"""A series on a DICOMweb server (WADO-RS, DICOM PS3.18): its metadata, and frames as they are stored."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from kras_plugins import ConfigError, SlideError, Url
from kras_plugins.files.regular import SETTINGS, parse_toml, private, read_text
from kras_reader_dicomweb import ADDRESS

# A server's warnings are logged line after line; what matters is raised here.
logging.getLogger("dicomweb_client").addHandler(logging.NullHandler())

Frame = tuple[str, int]
"""UID of an instance, and the number of a frame in it, from 1."""

RETRY: dict[str, Any] = {
    "total": 12,
    "connect": 4,
    "read": 3,
    "backoff_factor": 0.2,
    "backoff_max": 30,
    "backoff_jitter": 0.2,
    "retry_after_max": 60,
    "status_forcelist": (429, 500, 502, 503, 504),
    "raise_on_status": False,
}
"""How patient a request is, in urllib3's terms: some three minutes with a busy server, or as its `Retry-After` says."""
TIMEOUT = 15, 120
"""Seconds for a connection to be made, and for an answer to continue."""
BREAKS = 3
"""How often an interrupted answer is requested again."""
CONNECTIONS = 8
STORED = (("application/octet-stream", "*"),)
"""Media type and transfer syntax of frames: whichever the instance is stored in."""
ELSE = "copy the files of the series to a disk, and name one of them"


class Service:
    """The server of one series, asked from many threads; `received` bytes so far, in `requests`.

    Raises ConfigError if the libraries are not installed or the tokens cannot be read; SlideError naming the address
    without credentials, the cause and the remedy.
    """

    def __init__(self, url: Url, tokens: Path | None) -> None:
        try:
            from dicomweb_client import DICOMwebClient
            from requests import RequestException
        except ImportError as e:
            raise ConfigError(f"{url}: no installed library reads DICOMweb", "pip install 'kras[dicomweb]'") from e
        self._url = url
        parts = re.fullmatch(ADDRESS, url.text.partition("?")[0])
        if parts is None:
            raise SlideError(f"{url}: not a DICOMweb series", "write https://HOST/PATH/studies/STUDY/series/SERIES")
        login, _, base = parts["base"].rpartition("@")
        self._series = parts["study"], parts["series"]
        self._query = dict(parse_qsl(urlsplit(url.text).query, keep_blank_values=True)) or None
        self._http = _Http(login, tokens)
        self._client = DICOMwebClient(
            f"{url.scheme}://{base}", session=self._http, timeout=TIMEOUT, permissive_uid=True
        )
        self._client.set_http_retry_params(retry=False)  # urllib3's heed Retry-After
        self._fails = RequestException, ValueError, KeyError  # the last two if answers are not what they claim to be
        self._together = True

    @property
    def received(self) -> int:
        """Bytes of all answers."""
        return self._http.received

    @property
    def requests(self) -> int:
        """How many answers there were."""
        return self._http.requests

    def metadata(self) -> list[dict[str, Any]]:
        """DICOM JSON of each instance of the series, without pixels."""
        try:
            found = self._client.retrieve_series_metadata(*self._series, additional_params=self._query)
        except self._fails as e:
            raise self._told(e, frames=False) from None
        if not (isinstance(found, list) and all(isinstance(one, dict) for one in found)):
            raise SlideError(f"{self._url}: its server gave no DICOM JSON", "is it the address of a DICOMweb series?")
        return found

    def frames(self, group: Sequence[Frame]) -> list[bytes]:
        """The bytes of frames of one instance, together where the server can."""
        instance, numbers = group[0][0], [number for _, number in group]
        if self._together and len(numbers) > 1:
            try:
                found = self._ask(instance, numbers)
            except self._fails as e:
                if not _refused(e):
                    raise self._told(e, frames=True) from None
                found = []
            if len(found) == len(numbers):
                return found
            self._together = False
        return [self._one(instance, number) for number in numbers]

    def close(self) -> None:
        """End its connections."""
        self._http.session.close()

    def _one(self, instance: str, number: int) -> bytes:
        try:
            found = self._ask(instance, [number])
        except self._fails as e:
            raise self._told(e, frames=True) from None
        if len(found) != 1:
            raise SlideError(f"{self._url}: its server gave {len(found)} parts for frame {number}", ELSE)
        return found[0]

    def _ask(self, instance: str, numbers: Sequence[int]) -> list[bytes]:
        more = {"media_types": STORED, "additional_params": self._query}
        found = self._client.iter_instance_frames(*self._series, instance, numbers, **more)
        return [bytes(one) for one in found]

    def _told(self, error: Exception, frames: bool) -> SlideError:
        """The error for what went wrong; its own text may quote the whole address, so it is not shown."""
        from requests import exceptions as raised

        if isinstance(error, raised.HTTPError) and error.response is not None:
            return self._refusal(error.response.status_code, frames)
        if isinstance(error, raised.SSLError):
            return SlideError(
                f"{self._url}: the server's certificate is not trusted here", "name its authority in REQUESTS_CA_BUNDLE"
            )
        if isinstance(error, raised.ConnectionError | raised.Timeout | raised.ChunkedEncodingError):
            return SlideError(f"{self._url}: its server does not answer", "check the address and the network")
        what = "frames" if frames else "DICOM JSON"
        return SlideError(f"{self._url}: its server gave no {what}", "is it the address of a DICOMweb series?")

    def _refusal(self, status: int, frames: bool) -> SlideError:
        if status == 401:
            return SlideError(
                f"{self._url}: needs credentials (401)",
                "write https://user:password@…, or name a file of tokens: -o reader.dicomweb.tokens=FILE",
            )
        if status == 403:
            return SlideError(f"{self._url}: these credentials may not read it, or have expired (403)", "get others")
        if status in RETRY["status_forcelist"]:
            return SlideError(f"{self._url}: the server was busy or failed repeatedly ({status})", "run it again later")
        if frames:
            return SlideError(f"{self._url}: its server gives no frames as they are stored ({status})", ELSE)
        if status == 404:
            return SlideError(f"{self._url}: there is no such series (404)", "check the address in the cohort")
        return SlideError(f"{self._url}: its server refuses it ({status})", "is it the address of a DICOMweb series?")


class _Http:
    """The session of `dicomweb-client`: one for all threads, which counts answers and completes interrupted ones."""

    def __init__(self, login: str, tokens: Path | None) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3 import Retry

        self.session = requests.Session()
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS, max_retries=Retry(**RETRY)))
        if login:
            user, _, password = login.partition(":")
            self.session.auth = unquote(user), unquote(password)
        elif tokens is not None:
            _token(tokens, "")  # an unreadable file raises before anything is requested
            self.session.auth = lambda request: _bearer(request, tokens)
        self._broken = requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError
        self._lock = threading.Lock()
        self.received = self.requests = 0

    def get(self, url: str, headers: dict[str, str], **more: Any) -> Any:
        """The answer to a GET with its whole body; if interrupted, it is requested again."""
        headers = {name: value for name, value in headers.items() if name != "Host"}  # the client's lacks the port
        for left in range(BREAKS, -1, -1):
            answer = self.session.get(url, headers=headers, **{**more, "stream": True})
            try:
                answer.content  # noqa: B018 - reads it
            except self._broken:
                if not left:
                    raise
            else:
                return answer
            finally:
                with self._lock:
                    self.received += answer.raw.tell()
                    self.requests += 1
        raise AssertionError


def grouped(frames: Sequence[Frame], most: int) -> Iterator[list[Frame]]:
    """Frames of one instance together, up to `most`."""
    group: list[Frame] = []
    for frame in sorted(frames):
        if group and (len(group) == most or frame[0] != group[0][0]):
            yield group
            group = []
        group.append(frame)
    if group:
        yield group


def _refused(error: Exception) -> bool:
    """Whether a server rejects this kind of request or answers it wrongly, not for want of permission or capacity."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None:
        return isinstance(error, ValueError)
    return (400 <= status < 500 and status not in (401, 403, 429)) or status == 501


def _bearer(request: Any, tokens: Path) -> Any:
    if token := _token(tokens, urlsplit(request.url).netloc):
        request.headers["Authorization"] = f"Bearer {token}"
    return request


def _token(tokens: Path, host: str) -> str:
    """The token of a host, "" where the file has none for it."""
    try:
        found = parse_toml(read_text(private(tokens), SETTINGS)).get(host, "")
    except OSError as e:
        raise ConfigError(f"{tokens}: cannot be read: {e.strerror}", "name a TOML file with tokens by host") from e
    except ValueError as e:
        raise ConfigError(f"{tokens}: not TOML", 'write a line "HOST" = "TOKEN" for each server') from e
    if not isinstance(found, str):
        raise ConfigError(f"{tokens}: {host!r} has no text", 'write "HOST" = "TOKEN"')
    return found
