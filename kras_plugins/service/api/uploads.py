"""Uploads in pieces, over the tus 1.0 protocol (creation, checksum, termination), with clients in many languages."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool, run_in_threadpool
from starlette.requests import ClientDisconnect

from kras_plugins.service.api.access import Who, may
from kras_plugins.service.api.problems import RESPONSES, Refused
from kras_plugins.service.intake import uploads
from kras_plugins.study.inputs import slide_suffixes

if TYPE_CHECKING:
    from kras_plugins.service.parts import Service

_VERSION = "1.0.0"
_PIECE = "application/offset+octet-stream"
_WRONG_SUM = 460
_MOST_SIZE = 1 << 62
UploadId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="id of an upload")]
Version = Annotated[str, Header(alias="Tus-Resumable", max_length=20)]
Submitter = Annotated[Who, Depends(may("submit"))]


def upload_routes(service: Service) -> APIRouter:
    """The routes of uploads: begin one, send its pieces, ask how much has arrived, delete it."""
    routes = APIRouter(prefix="/api/v1/uploads", tags=["uploads"], responses={**RESPONSES, 412: RESPONSES[400]})
    folder, suffixes = service.settings.uploads, slide_suffixes(service.session.registry)

    def found(upload_id: str, who: Who, version: str) -> uploads.Upload:
        _check_version(version)
        return uploads.find(service.db, folder, upload_id, who.id)

    @routes.post("", status_code=201, response_class=Response, responses={201: {"headers": _header("Location")}})
    def begin(
        who: Submitter,
        length: Annotated[int, Header(alias="Upload-Length", ge=1, le=_MOST_SIZE, description="bytes of the slide")],
        metadata: Annotated[
            str, Header(alias="Upload-Metadata", max_length=2000, description="`filename` and its base64")
        ],
        version: Version = _VERSION,
    ) -> Response:
        """Begin an upload of one slide file; its address is in the answer's `Location`."""
        _check_version(version)
        if length > service.reach.most_upload:
            raise Refused(413, f"an upload may have {service.reach.most_upload:,} bytes at most", "name a path instead")
        made = uploads.create(service.db, folder, _filename(metadata), length, who.id, suffixes)
        return Response(status_code=201, headers=_told(made) | {"Location": f"/api/v1/uploads/{made.id}"})

    @routes.head("/{upload_id}", response_class=Response)
    def how_far(who: Submitter, upload_id: UploadId, version: Version = _VERSION) -> Response:
        """How many bytes have arrived: `Upload-Offset`, of `Upload-Length`."""
        return Response(headers=_told(found(upload_id, who, version)))

    @routes.patch(
        "/{upload_id}",
        status_code=204,
        response_class=Response,
        responses={415: RESPONSES[400], _WRONG_SUM: {"description": "The piece has another checksum"}},
        openapi_extra={
            "requestBody": {"content": {_PIECE: {"schema": {"type": "string", "format": "binary"}}}, "required": True}
        },
    )
    async def send_piece(
        request: Request,
        who: Submitter,
        upload_id: UploadId,
        offset: Annotated[int, Header(alias="Upload-Offset", ge=0, le=_MOST_SIZE, description="where it begins")],
        checksum: Annotated[
            str | None, Header(alias="Upload-Checksum", max_length=200, description="`sha256` and its base64")
        ] = None,
        version: Version = _VERSION,
    ) -> Response:
        """Send the next piece. What arrived before a break is kept: ask for the offset and continue from there."""
        if request.headers.get("content-type") != _PIECE:
            raise Refused(415, "the piece has the wrong content type", f"send it as {_PIECE}")
        upload = await run_in_threadpool(found, upload_id, who, version)
        expected = None if checksum is None else _digest(checksum)
        digest, at = hashlib.sha256(), offset
        async with contextmanager_in_threadpool(uploads.piece(service.db, upload, offset)) as file:
            try:
                async for part in request.stream():
                    at += len(part)
                    if at > upload.size:
                        raise Refused(413, f"more than the declared {upload.size} bytes were sent", "begin another one")
                    digest.update(part)
                    await run_in_threadpool(file.write, part)
            except ClientDisconnect:
                pass  # the sender asks later how much arrived
            if expected is not None and digest.digest() != expected:
                await run_in_threadpool(file.truncate, offset)
                return Response(status_code=_WRONG_SUM)
        return Response(status_code=204, headers=_told(await run_in_threadpool(found, upload_id, who, version)))

    @routes.delete("/{upload_id}", status_code=204, response_class=Response)
    def take_back(who: Submitter, upload_id: UploadId, version: Version = _VERSION) -> Response:
        """Delete an upload that no case uses."""
        uploads.remove(service.db, found(upload_id, who, version))
        return Response(status_code=204, headers={"Tus-Resumable": _VERSION})

    return routes


def _told(upload: uploads.Upload) -> dict[str, str]:
    return {
        "Tus-Resumable": _VERSION, "Upload-Offset": str(upload.received), "Upload-Length": str(upload.size),
    }  # fmt: skip


def _header(name: str) -> dict[str, object]:
    return {name: {"schema": {"type": "string"}}}


def _check_version(version: str) -> None:
    if version != _VERSION:
        raise Refused(412, "unsupported version of tus", f"send Tus-Resumable: {_VERSION}", {"Tus-Version": _VERSION})


def _filename(metadata: str) -> str:
    """The name in tus's metadata: comma-separated pairs of a key and base64. Another function checks it."""
    for pair in metadata.split(","):
        key, _, value = pair.strip().partition(" ")
        if key == "filename":
            try:
                return base64.b64decode(value, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError, ValueError) as e:
                raise Refused(422, "Upload-Metadata: filename is not UTF-8 in base64", "encode it") from e
    raise Refused(422, "Upload-Metadata: has no filename", "send `filename BASE64`")


def _digest(checksum: str) -> bytes:
    kind, _, value = checksum.partition(" ")
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as e:
        raise Refused(422, "Upload-Checksum: is not base64", "send `sha256 BASE64`") from e
    if kind != "sha256" or len(digest) != hashlib.sha256().digest_size:
        raise Refused(400, "Upload-Checksum: only sha256 is supported", "send `sha256 BASE64`")
    return digest
