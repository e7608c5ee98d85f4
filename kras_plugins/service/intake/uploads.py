"""Slides sent in pieces: if the connection breaks, what arrived is kept and the sender continues from there."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy import Engine

from kras_plugins.errors import NO_ROOM, KrasError, StoreError, UsageError
from kras_plugins.service import audit
from kras_plugins.service.database.engine import clock, reading, writing
from kras_plugins.service.database.tables import slides, uploads
from kras_plugins.store import file_sha256, safe_name

_ID = re.compile("[0-9a-f]{32}")
_NAME = re.compile(r"(?P<stem>[^/\\\0]{1,200}?)(?P<ending>\.[A-Za-z0-9]{1,12})")


class UnknownUpload(KrasError):
    """No upload has this id, or it is somebody else's."""


class WrongOffset(KrasError):
    """A piece does not begin where the previous one ended, or another one is being written."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A slide that is arriving or has arrived. `received`: bytes so far; `size`: bytes in all; `path`: its file."""

    id: str
    path: Path
    size: int
    received: int
    owner: str

    @property
    def whole(self) -> bool:
        """Whether all of it has arrived."""
        return self.received == self.size


def create(db: Engine, folder: Path, name: str, size: int, owner: str, suffixes: Sequence[str]) -> Upload:
    """Begin an upload of a slide file of this name into `folder`; only `owner` may continue it.

    `suffixes`: extensions of the slides that readers open, in lower case. Raises UsageError for a name without such an
    extension, and StoreError if there is no room.
    """
    parts = _NAME.fullmatch(name)
    if parts is None or not name.isprintable():
        raise UsageError("the name of an upload is not a file name with an extension", "for example slide.svs")
    if not name.lower().endswith(tuple(suffixes)):
        raise UsageError(f"no reader opens {parts['ending']}", f"upload one of {' '.join(suffixes)}")
    made = uuid.uuid4().hex
    file = f"{safe_name(parts['stem'])}{parts['ending']}"
    free = shutil.disk_usage(_made(folder)).free
    if size > free:
        raise StoreError(f"no room for an upload of {size:,} bytes: {free:,} are free", "make room for uploads")
    _made(folder / made)
    (folder / made / file).touch(mode=0o600)
    with writing(db) as connection:
        connection.execute(
            uploads.insert().values(id=made, file=file, size=size, received=0, owner=owner, created=clock(connection))
        )
        audit.append(connection, owner, "upload", made, bytes=size)
    return Upload(id=made, path=folder / made / file, size=size, received=0, owner=owner)


def find(db: Engine, folder: Path, upload_id: str, owner: str) -> Upload:
    """The upload of this id, as far as it has arrived. Raises UnknownUpload if `owner` has no such upload."""
    known = _ID.fullmatch(upload_id) is not None
    with reading(db) as connection:
        row = connection.execute(sa.select(uploads).where(uploads.c.id == upload_id)).one_or_none() if known else None
    if row is None or row.owner != owner:
        raise UnknownUpload(f"there is no upload {upload_id[:64]!r}", "begin one: POST /api/v1/uploads")
    path = folder / row.id / row.file
    if not path.is_file():
        raise UnknownUpload("the upload was removed", "begin one: POST /api/v1/uploads")
    return Upload(id=row.id, path=path, size=row.size, received=path.stat().st_size, owner=row.owner)


@contextmanager
def piece(db: Engine, upload: Upload, offset: int) -> Iterator[IO[bytes]]:
    """Where to write a piece that begins at `offset`; what arrived before an interruption is kept.

    Raises WrongOffset if this is not the end of what has arrived, or if another piece is being written.
    """
    lock = FileLock(upload.path.with_name(".lock"), thread_local=False)  # begun in one thread, ended in another
    try:
        lock.acquire(timeout=0)
    except Timeout as e:
        raise WrongOffset("another piece of this upload is being written", "ask for the offset, then continue") from e
    try:
        here = upload.path.stat().st_size
        if offset != here:
            raise WrongOffset(f"the piece begins at {offset}, but {here} bytes have arrived", f"continue at {here}")
        with upload.path.open("ab") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as e:
        if e.errno in NO_ROOM:
            raise StoreError("an upload cannot be written: the disk is full", "make room for uploads") from e
        raise
    finally:
        with writing(db) as connection:
            received = upload.path.stat().st_size
            connection.execute(uploads.update().where(uploads.c.id == upload.id).values(received=received))
        lock.release()


def whole(upload: Upload, sha256: str | None = None) -> Path:
    """The file of an upload. Raises UsageError if it is incomplete, or if its digest is not the sender's."""
    if not upload.whole:
        raise UsageError(
            f"upload {upload.id}: only {upload.received} of {upload.size} bytes are here", f"go on at {upload.received}"
        )
    if sha256 is not None and file_sha256(upload.path) != sha256:
        raise UsageError(f"upload {upload.id} does not have the SHA-256 that was given", "send the slide again")
    return upload.path


def remove(db: Engine, upload: Upload) -> None:
    """Delete an upload. Raises UsageError if a case uses it."""
    with writing(db) as connection:
        if connection.execute(sa.select(slides.c.id).where(slides.c.place == str(upload.path)).limit(1)).first():
            raise UsageError(f"upload {upload.id} is a slide of a case", "it is removed with the patient")
        shutil.rmtree(upload.path.parent)
        connection.execute(uploads.delete().where(uploads.c.id == upload.id))
        audit.append(connection, upload.owner, "remove upload", upload.id)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
