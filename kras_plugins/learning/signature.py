"""Who made a bundle: an Ed25519 signature of its digest, beside the seal, and the keys that are trusted here.

The digest covers every file, so the signature does, too. Keys are PEM files: the private key belongs to the maker
alone; the public key is given to those who use bundles, who put it into their folder of trusted keys.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.errors import ConfigError, StoreError
from kras_plugins.files.atomic import write_atomic
from kras_plugins.files.regular import private
from kras_plugins.learning.seal import SIGNATURE, check_seal
from kras_plugins.learning.strict_json import read_strict_json
from kras_plugins.store import user_config

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_SCHEMA_VERSION = 1
_PURPOSE = b"kras bundle 1\n"
"""Prefix of the signed message: a signature for another purpose is not valid for a bundle."""
_MOST_BYTES = 10_000
_PUBLIC = ".pub"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A valid signature. `key`: sha256 of the public key; `trusted`: its name among the trusted keys, else None."""

    key: str
    trusted: str | None


def key_folder() -> Path:
    """The folder of the public keys that are trusted on this machine, each a file `NAME.pub`."""
    return user_config() / "keys"


def make_key(file: Path) -> str:
    """Write a new private key to `file` and its public one to `file.pub`; returns the sha256 of the public key.

    Neither may exist; only the owner may read the private one. Raises ConfigError, and leaves neither, if they cannot
    be written.
    """
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    written: list[Path] = []
    try:
        for path, content, mode in ((file, secret, 0o600), (public_of(file), public, 0o644)):
            with open(path, "xb", opener=partial(os.open, mode=mode)) as f:
                written.append(path)
                f.write(content)
    except OSError as e:
        for path in written:
            path.unlink(missing_ok=True)
        raise ConfigError(f"cannot write the key {e.filename}: {e.strerror}", "choose another file") from e
    return fingerprint(key.public_key())


def public_of(file: Path) -> Path:
    """The file of the public key that belongs to the private one in `file`."""
    return file.with_name(file.name + _PUBLIC)


def sign(folder: Path, key_file: Path) -> Signature:
    """Sign a bundle, whose seal is checked first; replaces an earlier signature.

    Raises ConfigError for a file that is not a private key, StoreError for a bundle that is damaged.
    """
    digest, key = check_seal(folder), _private(key_file)
    content = {
        "schema_version": _SCHEMA_VERSION,
        "public_key": _raw(key.public_key()).hex(),
        "signature": key.sign(_message(digest)).hex(),
    }
    write_atomic(folder / SIGNATURE, json.dumps(content, indent=1) + "\n")
    found = fingerprint(key.public_key())
    return Signature(key=found, trusted=_trusted(found))


def read_signature(folder: Path, digest: str) -> Signature | None:
    """The signature of a bundle with that digest; None if it is not signed.

    Raises StoreError for one that is damaged or of another content, ConfigError for a damaged trusted key.
    """
    path = folder / SIGNATURE
    if not os.path.lexists(path):
        return None
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found = read_strict_json(path, _MOST_BYTES)
    try:
        if found["schema_version"] != _SCHEMA_VERSION or {*found} != {"schema_version", "public_key", "signature"}:
            raise ValueError("another schema")
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(found["public_key"]))
        key.verify(bytes.fromhex(found["signature"]), _message(digest))
    except InvalidSignature as e:
        raise StoreError(
            f"bundle refused: {path} is the signature of other content",
            "the bundle was changed after it was signed; ask its signer for an intact copy",
        ) from e
    except (LookupError, TypeError, ValueError) as e:
        raise StoreError(
            f"bundle refused: {path} is not a signature", "sign the bundle with `kras bundle sign`, or delete the file"
        ) from e
    name = fingerprint(key)
    return Signature(key=name, trusted=_trusted(name))


def require_trusted(folder: Path, signature: Signature | None) -> Signature:
    """The signature, if its key is trusted here; else StoreError."""
    if signature is not None and signature.trusted is not None:
        return signature
    if signature is None:
        raise StoreError(
            f"bundle refused: {folder}: it is not signed", "ask its maker to sign it with `kras bundle sign`"
        )
    raise StoreError(
        f"bundle refused: {folder}: the key {signature.key[:16]} that signed it is not trusted",
        f"put its maker's public key, verified with them, into {key_folder()} as NAME{_PUBLIC}",
    )


def trusted_keys() -> dict[str, str]:
    """sha256 of each trusted public key by its name; ConfigError for a file that is not one."""
    return dict(_trusted_keys())


def fingerprint(key: Ed25519PublicKey) -> str:
    """The sha256 of a public key, for people to compare."""
    return hashlib.sha256(_raw(key)).hexdigest()


def _trusted(key: str) -> str | None:
    return next((name for name, trusted in _trusted_keys() if trusted == key), None)


def _trusted_keys() -> Iterator[tuple[str, str]]:
    folder = key_folder()
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.suffix == _PUBLIC and not file.name.startswith("."):  # such as those macOS leaves beside copied files
            yield file.stem, fingerprint(_public(file))


def _private(file: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(file), None)
        if isinstance(key, Ed25519PrivateKey):
            private(file)
            return key
        why: object = "another kind of key"
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as e:
        why = getattr(e, "strerror", None) or e
    raise ConfigError(f"{file}: not a private Ed25519 key: {_one_line(why)}", "make one with `kras bundle keygen`")


def _public(file: Path) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read(file))
        if isinstance(key, Ed25519PublicKey):
            return key
        why: object = "another kind of key"
    except (OSError, ValueError, UnsupportedAlgorithm) as e:
        why = getattr(e, "strerror", None) or e
    raise ConfigError(f"{file}: not a public Ed25519 key: {_one_line(why)}", "replace it, or remove it from the folder")


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise OSError(None, "no such file")
    with file.open("rb") as f:
        return f.read(_MOST_BYTES)


def _one_line(why: object) -> str:
    return re.sub(r"\s+", " ", str(why))[:200]


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes_raw()


def _message(digest: str) -> bytes:
    return _PURPOSE + digest.encode()
