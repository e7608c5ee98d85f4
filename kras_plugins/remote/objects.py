"""Objects of one bucket or web server through obstore: read, written, listed, with errors that say what to do.

Each call is one or more HTTP requests, repeated with growing pauses where the server is busy (429, 5xx), does not
answer, or breaks off in the middle. Credentials come from where each service's own tools take them (environment, role
of the machine); obstore is imported when the first object is asked for.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from kras_plugins.errors import ConfigError, KrasError, StoreError
from kras_plugins.urls import Url, without_credentials

RETRY: dict[str, Any] = {
    "max_retries": 12,
    "retry_timeout": timedelta(minutes=4),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=30), "base": 2},
}
"""How patient a request is: about two minutes with a server that only answers that it is busy."""
CLIENT: dict[str, Any] = {"timeout": timedelta(minutes=2), "connect_timeout": timedelta(seconds=15)}

_EXPIRED = re.compile(
    r"ExpiredToken|TokenRefreshRequired|Request has expired|token (?:is|has) expired|Signature not valid in", re.I
)
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.I)
_STATUS = re.compile(r"status code: (\d{3}[ \w]*)")
_BUSY = ("429", "500", "502", "503", "504")


class Missing(Exception):
    """The object does not exist."""


class Changed(Exception):
    """The object has changed since it was first read."""


class NoRanges(Exception):
    """The server returns only whole objects."""


class Exists(Exception):
    """Somebody else wrote the object first."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """An object: its key, size in bytes, time of its last change, and what identifies its version, if stated."""

    key: str
    size: int
    changed: datetime
    tag: str | None = None


class Bucket:
    """An open bucket or web server; used from many threads. `error`: the class that is raised for failures.

    Keys are complete, from the bucket's root. Raises ConfigError where obstore is not installed, else Missing, Changed,
    NoRanges and Exists as described, and `error` naming the object, the cause and what to do.
    """

    def __init__(self, url: Url, error: type[KrasError] = StoreError) -> None:
        self._url, self._error = url, error
        try:
            from obstore import exceptions as raised
        except ImportError as e:
            raise ConfigError(f"{url}: no installed library reads it", "pip install 'kras[remote]'") from e
        try:
            self._opened = _opened(_root(url), _environment())
        except (raised.BaseError, OSError, ValueError) as e:  # a setting in the environment that obstore refuses
            raise _told(e, self._shown(""), ConfigError) from None

    def get(self, key: str, span: tuple[int, int] | None = None, tag: str | None = None) -> tuple[Found, bytes]:
        """An object, or its bytes from `span[0]` to before `span[1]`, cut at its end; only in the version `tag`."""
        import obstore

        options: dict[str, Any] = {} if span is None else {"range": span}
        if tag is not None and not tag.startswith("W/"):  # a weak tag never matches (RFC 9110)
            options["if_match"] = tag
        with self._told(key):
            got = obstore.get(self._opened, key, options=options)  # type: ignore[arg-type]
            content = bytes(got.bytes())
            found = _found(got.meta, key)
        if tag is not None and found.tag != tag:
            raise Changed
        return found, content

    def put(self, key: str, content: bytes | Path, *, new: bool = False) -> None:
        """Write an object, atomically; `new`: only if it does not exist, else raise Exists, if the store can tell."""
        import obstore

        with self._told(key):
            obstore.put(self._opened, key, content, mode="create" if new else "overwrite")

    def list(self, prefix: str) -> Iterator[Found]:
        """All objects whose keys are below `prefix`."""
        import obstore

        with self._told(prefix):
            for some in obstore.list(self._opened, prefix):
                yield from (_found(one, one["path"]) for one in some)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that do not exist are ignored."""
        import obstore

        with self._told(keys[0] if keys else ""):
            try:
                obstore.delete(self._opened, list(keys))
            except FileNotFoundError:  # others removed one first; remove the rest one by one
                for key in keys if len(keys) > 1 else ():
                    self.delete([key])

    def _shown(self, key: str) -> str:
        host = without_credentials(self._url.text).split("://", 1)[1].partition("/")[0]
        return f"{self._url.scheme}://{host}/{quote(key) if self._url.is_web else key}"

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        from obstore import exceptions as raised

        try:
            yield
        except FileNotFoundError as e:
            if _NO_BUCKET.search(str(e)):
                raise self._error(f"{self._shown('')}: there is no such bucket", "check its name") from None
            raise Missing from None
        except raised.PreconditionError:
            raise Changed from None
        except raised.NotSupportedError as e:
            if "ange request" in str(e):
                raise NoRanges from None
            raise _told(e, self._shown(key), self._error) from None
        except raised.AlreadyExistsError:
            raise Exists from None
        except (raised.BaseError, OSError, ValueError) as e:
            if "status code: 416" in str(e) or "object was only 0 bytes" in str(e):
                raise NoRanges from None  # an empty object has no range, however a server answers
            # Its text contains the whole address, so it is quoted and not chained.
            raise _told(e, self._shown(key), self._error) from None


def _root(url: Url) -> str:
    """The address of the bucket or host, with the credentials and the query that go with each request."""
    parts = urlsplit(url.text)
    query = f"?{parts.query}" if url.is_web and parts.query else ""
    return f"{parts.scheme.lower()}://{parts.netloc}/{query}"


def _environment() -> tuple[tuple[str, str], ...]:
    """The environment's settings of object storage: other settings mean another store."""
    return tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith(("AWS_", "GOOGLE_", "AZURE_"))))


@lru_cache(maxsize=64)
def _opened(root: str, environment: tuple[tuple[str, str], ...]) -> Any:
    """An obstore store; all users of one bucket share its connections."""
    import obstore.store

    scheme, parts = root.split("://")[0], urlsplit(root)
    client = dict(CLIENT)
    more: dict[str, Any] = {}
    if scheme in ("http", "https"):
        client["allow_http"] = scheme == "http"
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            client["default_headers"] = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
            root = root.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1)
    elif scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        client["allow_http"] = endpoint.startswith("http://")
        more = {"credential_provider": found} if (found := _profile()) is not None else {}
    open_url: Any = obstore.store.from_url  # typed by scheme, which is not known here
    return open_url(root, client_options=client, retry_config=RETRY, **more)


def _profile() -> Any:
    """Credentials of an AWS profile, single sign-on included, by boto3 where that is installed; else None."""
    if "AWS_ACCESS_KEY_ID" in os.environ or os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true"):
        return None
    files = [
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
    ]
    if not any(Path(file).expanduser().is_file() for file in files) or find_spec("boto3") is None:
        return None
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except ValueError:  # a file without credentials: use those of the machine's role
        return None


def _found(meta: Any, key: str) -> Found:
    return Found(key=key, size=int(meta["size"]), changed=meta["last_modified"], tag=meta["e_tag"])


def _told(error: Exception, where: str, kind: type[KrasError]) -> KrasError:
    """The error for what a server or obstore reports, without credentials."""
    text = without_credentials(str(error))
    status = m[1].strip() if (m := _STATUS.search(text)) else ""
    name = type(error).__name__
    if _EXPIRED.search(text):
        return kind(f"{where}: the credentials or the signed address have expired", "get new ones, and run it again")
    if status.startswith("401") or name == "UnauthenticatedError":
        return kind(f"{where}: needs credentials ({status or 'none'})", "set those of its service in the environment")
    if status.startswith("403") or name == "PermissionDeniedError":
        return kind(
            f"{where}: these credentials may not do that, or have expired ({status or 'denied'})",
            "ask for permission; a public S3 bucket requires AWS_SKIP_SIGNATURE=true",
        )
    if status.startswith(_BUSY):
        return kind(f"{where}: the server was busy or failed repeatedly ({status})", "run it again later")
    first = " ".join(text.split("Debug source")[0].split())[:300]
    return kind(f"{where}: {status or first}", "check the address and the network")
