"""Codec: how a body's bytes are kept. Plain now; encryption with a key per thread fits here without a new format."""

from __future__ import annotations

from typing import Protocol


class Codec(Protocol):
    def encode(self, thread: str, data: bytes) -> bytes:
        """`data` as it is to lie in the store."""

    def decode(self, thread: str, stored: bytes) -> bytes:
        """The data again."""


class Plain:
    """Bytes as they are."""

    def encode(self, thread: str, data: bytes) -> bytes:
        return data

    def decode(self, thread: str, stored: bytes) -> bytes:
        return stored


PLAIN = Plain()
