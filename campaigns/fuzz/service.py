"""Requests to the API of `kras serve`: bodies of cases, priorities, tokens and uploads."""

from __future__ import annotations

import base64
import json
import random
import shutil
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Kind, Must, of_bytes, pick

JSON = "application/json"
PIECE = "application/offset+octet-stream"
CONTENT = b"slide of patient 7"


def _make(folder: Path) -> None:
    from cohorts import draw_tables
    from served import arrive, serving, small_bundle
    from service_app import running

    draw_tables(folder)
    shutil.copytree(small_bundle(folder, folder / "study"), folder / "bundle")
    shutil.rmtree(folder / "study")
    for patient in (5, 6):
        arrive(folder / "served" / "slides", patient)
    with running(serving(folder / "served", folder, [folder / "bundle"])):
        pass  # makes the database
    (folder / "request.json").write_text(json.dumps(_case("TCGA-05-0005.svs")))


def _case(name: str) -> dict[str, Any]:
    return {
        "to": "case",
        "body": json.dumps({"slides": [{"path": name}], "patient": "ann", "priority": 3}),
        "type": JSON,
    }


def _read(folder: Path) -> Any:
    from served import serving
    from service_app import running

    from kras_plugins.errors import KrasError

    asked = json.loads((folder / "request.json").read_text())
    body = bytes.fromhex(asked["hex"]) if "hex" in asked else asked["body"].encode("utf-8", "surrogatepass")
    with running(serving(folder / "served", folder, [folder / "bundle"])) as service:
        client = service.client("submit", "read", "admin")
        slides = folder / "served" / "slides"
        body = body.replace(b"TCGA-05-0005.svs", str(slides / "TCGA-05-0005.svs").encode())
        body = body.replace(b"TCGA-00-0006.svs", str(slides / "TCGA-00-0006.svs").encode())
        headers = {"Content-Type": asked["type"], **asked.get("headers", {})}
        if asked["to"] == "priority":
            new = {"slides": [{"path": str(slides / "TCGA-00-0006.svs")}], "patient": "ben"}
            made = client.post("/api/v1/cases", json=new).json()
            answer = client.put(f"/api/v1/cases/{made['id']}/priority", content=body, headers=headers)
        elif asked["to"] == "piece":
            begun = {"Upload-Length": str(len(CONTENT)), "Upload-Metadata": "filename " + _base64(b"a.svs")}
            place = client.post("/api/v1/uploads", headers=begun).headers["location"]
            answer = client.patch(place, content=body, headers=headers)
        else:
            where = {"case": "cases", "token": "tokens", "upload": "uploads"}[asked["to"]]
            answer = client.post(f"/api/v1/{where}", content=body, headers=headers)
    if answer.status_code >= 500:
        raise RuntimeError(f"{answer.status_code}: {answer.text}")
    if answer.status_code >= 400 and answer.status_code != 460:
        problem = answer.json()
        if answer.headers["content-type"] != "application/problem+json":
            raise RuntimeError(f"no problem+json: {answer.text}")
        raise KrasError(f"{answer.status_code} {problem['detail']}", problem["remedy"] or problem["title"])
    told = answer.json() if answer.content else {}
    kept = {name: told[name] for name in ("state", "grouping", "priority", "name", "scopes", "version") if name in told}
    return {"status": answer.status_code, **kept, "offset": answer.headers.get("upload-offset", "")}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


_ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    0.5,
    101,
    10**30,
    "",
    " ",
    "x",
    "x" * 501,
    "\x00",
    "\u202e",
    "é" * 20,
    [],
    {},
    [[]],
    [None],
    {"path": 3},
    "3",
]


def case_meaning(body: Any) -> Any:
    """What becomes of a case that is asked for."""
    if not isinstance(body, dict) or not set(body) <= {"slides", "patient", "priority"}:
        return Must.REFUSED
    slides, priority, patient = body.get("slides"), body.get("priority", 0), body.get("patient")
    if not isinstance(slides, list) or len(slides) != 1 or slides[0] not in (
        {"path": "TCGA-05-0005.svs"}, {"path": "TCGA-00-0006.svs"},
    ):  # fmt: skip
        return Must.REFUSED
    if patient is not None and (
        not isinstance(patient, str) or not patient.strip() or not patient.isprintable() or len(patient) > 500
    ):
        return Must.REFUSED
    if priority == "3":
        priority = 3  # a number as a text is one, as in a query
    if isinstance(priority, bool) or not isinstance(priority, int) or not -100 <= priority <= 100:
        return Must.REFUSED
    return {
        "status": 201,
        "state": "queued",
        "grouping": "api" if patient else "alone",
        "priority": priority,
        "version": 1,
        "offset": "",
    }


def _change(folder: Path, rng: random.Random, _sound: Any) -> Change:
    file = folder / "request.json"
    case = {"slides": [{"path": "TCGA-05-0005.svs"}], "patient": "ann", "priority": 3}

    def say(what: str, must: Any, to: str, body: str, kind: str = JSON, **headers: str) -> Change:
        file.write_text(json.dumps({"to": to, "body": body, "type": kind, "headers": headers}))
        return Change(what, must)

    def value() -> Change:
        name = rng.choice([*case, "note"])
        case[name] = rng.choice(_ODD)
        return say(f"{name} is {str(case[name])[:40]!r}", case_meaning(case), "case", json.dumps(case))

    def of_slide() -> Change:
        slide: dict[str, Any] = rng.choice(
            [
                {"path": rng.choice(_ODD)},
                {"url": rng.choice(_ODD)},
                {"upload": rng.choice(_ODD)},
                {"upload": "0" * 32},
                {"path": "TCGA-05-0005.svs", "url": "https://example.org/a.svs"},
                {"path": "TCGA-05-0005.svs", "sha256": "0" * 64},
                {"path": "/etc/passwd"},
                {"path": "../../etc/passwd"},
                {"path": "TCGA-05-0005.svs/../../../x"},
                {"url": "file:///etc/passwd"},
                {"url": "http://169.254.169.254/latest"},
                {"path": "TCGA-00-0006.svs"},
                {},
            ]
        )
        case["slides"] = [slide]
        return say(f"slide {str(slide)[:60]}", case_meaning(case), "case", json.dumps(case))

    def slides() -> Change:
        case["slides"] = rng.choice(
            [[], [{"path": "TCGA-05-0005.svs"}] * 2, [{"path": "TCGA-05-0005.svs"}] * 201, {"path": "x"}]
        )
        return say(f"{len(case['slides'])} slides", Must.REFUSED, "case", json.dumps(case))

    def dropped() -> Change:
        name = rng.choice(list(case))
        del case[name]
        return say(f"no {name}", case_meaning(case), "case", json.dumps(case))

    def styled() -> Change:
        moved = dict(rng.sample(list(case.items()), len(case)))
        return say(
            "in another order, indented", case_meaning(case), "case", json.dumps(moved, indent=rng.choice([None, 2]))
        )

    def odd_json() -> Change:
        text = rng.choice(
            [
                "",
                "null",
                "[]",
                "3",
                '"x"',
                "{",
                '{"slides": NaN}',
                "[" * 100_000,
                '{"a":' * 5000 + "1" + "}" * 5000,
                '{"slides": [], "slides": 3}',
                '"\\ud800"',
                "\ud800",
            ]
        )
        return say(f"body {text[:30]!a}", Must.REFUSED, "case", text)

    def typed() -> Change:
        kind = rng.choice(
            ["text/plain", "application/xml", "", "application/json; charset=utf-16", "multipart/form-data"]
        )
        return say(f"content type {kind!r}", case_meaning(case), "case", json.dumps(case), kind)

    def priority() -> Change:
        new = rng.choice([5, -100, 100, 101, -101, "x", None, 0.5, 1e300, True, [], {}])
        good = isinstance(new, int) and not isinstance(new, bool) and abs(new) <= 100
        must = (
            {"status": 200, "state": "queued", "grouping": "api", "priority": new, "version": 1, "offset": ""}
            if good
            else Must.REFUSED
        )
        return say(f"priority {new!r}", must, "priority", json.dumps({"priority": new}))

    def token() -> Change:
        scopes = rng.choice([["read"], ["read", "submit"], ["root"], [], "read", [None], ["read"] * 4, {}])
        name = rng.choice(["a program", "", "x" * 1000, None, 3, "\x00", "a program"])
        good = scopes in (["read"], ["read", "submit"]) and name == "a program"
        must = {"status": 201, "name": name, "scopes": scopes, "offset": ""} if good else Must.REFUSED
        return say(
            f"token {str(name)[:20]!r} with {scopes}", must, "token", json.dumps({"name": name, "scopes": scopes})
        )

    def upload() -> Change:
        length = rng.choice(["18", "0", "-1", "x", "1e3", str(2**63), str(2**80), " 18 "])
        name = rng.choice(
            [b"a.svs", b"a.svs", b"", b"../a.svs", b"a/b.svs", b"\xff", b"x" * 900, b"a\x00.svs", b"a.exe"]
        )
        good = length.strip() == "18" and name == b"a.svs"
        must = {"status": 201, "offset": "0"} if good else Must.REFUSED
        return say(
            f"upload of {length} bytes called {name[:20]!r}", must, "upload", "", JSON,
            **{"Upload-Length": length, "Upload-Metadata": f"filename {_base64(name)}"},
        )  # fmt: skip

    def piece() -> Change:
        import hashlib

        offset, content = (
            rng.choice(["0", "0", "0", "1", "-1", "x", str(2**62)]),
            rng.choice([CONTENT, CONTENT[:5], CONTENT + b"x", b""]),
        )
        right = _base64(hashlib.sha256(content).digest())
        checksum, kind = rng.choice([right, right, _base64(bytes(32)), "%%%"]), rng.choice([PIECE, PIECE, JSON])
        must: Any = Must.REFUSED
        if offset == "0" and kind == PIECE and len(content) <= len(CONTENT) and checksum != "%%%":
            must = {"status": 204, "offset": str(len(content))} if checksum == right else {"status": 460, "offset": ""}
        return say(
            f"piece of {len(content)} bytes at {offset}", must, "piece", content.decode(), kind,
            **{"Upload-Offset": offset, "Upload-Checksum": f"sha256 {checksum}"},
        )  # fmt: skip

    def damaged() -> Change:
        what, content = of_bytes(json.dumps(case).encode(), rng)
        file.write_text(json.dumps({"to": "case", "hex": content.hex(), "type": JSON}))
        return Change(f"body: {what}", Must.ANYTHING)

    ways = [(4, value), (4, of_slide), (1, slides), (1, dropped), (1, styled), (2, odd_json), (1, typed), (2, priority)]
    return pick(rng, [*ways, (2, token), (2, upload), (3, piece), (4, damaged)])


KINDS = [
    Kind(
        name="service",
        make=_make,
        change=_change,
        read=_read,
        named=("",),
        few=2,
        warm=(
            "sqlalchemy",
            "alembic.command",
            "starlette.testclient",
            "kras_plugins.service.api.app",
            "service_app",
            "served",
            "cohorts",
            "sklearn.ensemble",
            "kras_plugins.study.train",
        ),
    )
]
