"""Signed heads: Ed25519, so that who verifies needs no secret.

The key lies beside the store (`<store>.key`, readable by its owner only) or comes from TURNOUT_SIGNING_KEY (64 hex
characters), which on Postgres is the only way: the processes on many machines have to share it. Keep the exported heads, or at least the public key, somewhere else: who can change the store and the
key file can sign what they like.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from turnout.core import canon
from turnout.core.entries import Micros
from turnout.errors import SettingsInvalid
from turnout.ports.rows import HeadRow


class Signer:
    """Signs heads with one key. The key's file is read, or made, when something is to be signed: reading makes none."""

    def __init__(self, secret: bytes | None = None, file: Path | None = None) -> None:
        self._file = file
        self._secret = Ed25519PrivateKey.from_private_bytes(secret) if secret is not None else None

    @classmethod
    def open(cls, hex_key: str = "", file: str | None = None) -> Signer:
        """The signer with this key, or with the key in `file`; with neither it can't sign. Raises `SettingsInvalid`."""
        if hex_key:
            return cls(_bytes(hex_key, "TURNOUT_SIGNING_KEY"))
        return cls(file=Path(file) if file is not None else None)

    @classmethod
    def passing(cls) -> Signer:
        """A signer whose key goes with it, as a store in memory does."""
        return cls(os.urandom(32))

    @property
    def able(self) -> bool:
        """Is there a key, or a file for one?"""
        return self._secret is not None or self._file is not None

    @property
    def public(self) -> str:
        """The public half (hex); empty while nothing was ever signed with a key of this store."""
        if self._secret is None and (self._file is None or not self._file.exists()):
            return ""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    @property
    def _key(self) -> Ed25519PrivateKey:
        if self._secret is None and self._file is None:
            raise SettingsInvalid(
                "there is no key to sign heads with; set TURNOUT_SIGNING_KEY to 64 hex characters, the same for every "
                "process on this store (make one with `openssl rand -hex 32`, and keep it)"
            )
        if self._secret is None:
            assert self._file is not None
            self._secret = Ed25519PrivateKey.from_private_bytes(_kept(self._file))
        return self._secret

    def ready(self) -> None:
        """Have the key at hand before the first signature is due. Raises `SettingsInvalid`."""
        self._key.public_key()

    def sign(self, statement: object) -> bytes:
        """The signature over the canonical bytes of plain JSON data."""
        return self._key.sign(canon.encode(statement))

    def head(self, thread: str, seq: int, digest: bytes, at: Micros) -> HeadRow:
        """A signed head of one thread."""
        return HeadRow(thread, seq, digest, at, self.sign(statement(thread, seq, digest, at)))


def _make(path: Path) -> None:
    """A new key, which appears whole or not at all: two processes may be here at once, or one may die here."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as out:
            out.write(os.urandom(32).hex())
            out.flush()
            os.fsync(out.fileno())
        with contextlib.suppress(FileExistsError):  # somebody was quicker: theirs counts
            os.link(draft, path)
    finally:
        draft.unlink()


def _kept(path: Path) -> bytes:
    """The key in a file; made, readable by its owner only, if there is none."""
    try:
        if not path.exists():
            _make(path)
        found = path.read_text().strip()
    except OSError as error:
        raise SettingsInvalid(
            f"the signing key {path} can't be made or read: {error.strerror}; set TURNOUT_SIGNING_KEY"
        ) from None
    if not found:
        raise SettingsInvalid(f"the signing key {path} is empty; restore it, or delete it for a new one")
    return _bytes(found, f"the signing key {path}")


def _bytes(hex_key: str, what: str) -> bytes:
    try:
        secret = bytes.fromhex(hex_key)
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise SettingsInvalid(f"{what} must be 64 hex characters (32 bytes)")
    return secret


def statement(thread: str, seq: int, digest: bytes, at: Micros) -> list[object]:
    """What a head of one thread says."""
    return ["turnout head", thread, seq, digest.hex(), at]


def genuine(public: str, said: object, signature: bytes) -> bool:
    """Was `said` signed with the key whose public half is `public` (hex)?"""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, canon.encode(said))
    except (InvalidSignature, ValueError):
        return False
    return True
