"""Frames: a batch of messages as the bytes that travel.

A frame is a CBOR array of messages, a message is `[tag, field, ...]`. Only plain CBOR is spoken:
integers of 64 bits, floats, strings, arrays, true, false and null. Whatever bytes arrive, decoding
ends with messages of the expected type or with a RemoteFault, and its time and memory are bounded
by FRAME_MAX, or by what the reader chose instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, Generic, TypeVar

import cbor2
import msgspec

from hqtrio.errors import RemoteFault
from hqtrio.model.value import Value

FRAME_AIM: Final = 256 << 10  # senders cut longer batches; bigger frames hold the loop for too long
FRAME_MAX: Final = 1 << 20
DEPTH_MAX: Final = 32  # the deepest message of ours nests a dozen arrays

T = TypeVar("T")


def encode(messages: Sequence[Value]) -> bytes:
    """One frame with these messages; it is the caller's to keep it near FRAME_AIM."""
    plain = msgspec.to_builtins(messages, builtin_types=(bytes,))
    try:
        return cbor2.dumps(plain)
    except UnicodeEncodeError:  # a path or argument that is not UTF-8: rare, so it may be slow
        return cbor2.dumps(plain, encoders={str: _encode_text})


class Decoder(Generic[T]):
    """Turns frames into messages of one type, which may be a union."""

    def __init__(self, expects: Any, *, frame_max: int = FRAME_MAX) -> None:
        self._frame, self._frame_max = _frame_of(expects), frame_max

    def decode(self, data: bytes) -> list[T]:
        """The messages of one frame; RemoteFault with the reason if it is not one."""
        if len(data) > self._frame_max:
            raise RemoteFault(f"frame of {len(data)} bytes is over the limit of {self._frame_max}")
        try:
            parts = {"frame": _parse(data)}
            messages: list[T] = msgspec.convert(parts, self._frame, builtin_types=(bytes,)).frame
        except msgspec.ValidationError as error:
            raise RemoteFault(f"frame with a message of wrong type: {error}") from error
        except (cbor2.CBORError, ValueError, OverflowError, RecursionError) as error:
            raise RemoteFault(f"frame is not plain CBOR: {_innermost(error)}") from error
        return messages


@cache
def _frame_of(expects: Any) -> Any:
    """The type of a frame with such messages.

    A struct and not the bare list: msgspec remembers what it found out about structs only.
    """
    return msgspec.defstruct("Frame", [("frame", list[expects])])


def _encode_text(encoder: cbor2.CBOREncoder, text: str) -> None:
    """Write a string whose surrogate escapes stand for bytes that are not UTF-8."""
    data = cbor2.dumps(text.encode("utf-8", "surrogateescape"))
    encoder.write(bytes((data[0] | 0x20,)) + data[1:])  # a byte string's head made a text's


# --- parsing

# cbor2 stops after the first item and says nothing of what follows it. So the frame is parsed as
# the first of two items; bytes after its end would be taken for the second. (Who forges the second
# one gains that the rest of his bytes is ignored.)
_HEAD: Final = b"\x82"
_END: Final = "end of frame"
_TAIL: Final = cbor2.dumps(_END)


def _no_tag(_item: object, _immutable: bool) -> object:
    raise ValueError("it holds a tag")


def _no_map(_item: object, _immutable: bool) -> object:
    raise ValueError("it holds a map")


class _EveryTag(Mapping[int, Callable[[Any, bool], object]]):
    """Has a handler for every tag: cbor2 would make dates, patterns and references of some."""

    def __getitem__(self, tag: int) -> Callable[[Any, bool], object]:
        return _no_tag

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


_TAGS: Final = _EveryTag()


def _parse(data: bytes) -> object:
    parts = cbor2.loads(
        b"".join((_HEAD, data, _TAIL)),
        semantic_decoders=_TAGS,
        object_hook=_no_map,
        max_depth=DEPTH_MAX,
        allow_indefinite=False,
        strict_hashable_types=True,
        str_errors="surrogateescape",
    )
    if parts[1] != _END:
        raise ValueError("bytes follow after its end")
    return parts[0]


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
