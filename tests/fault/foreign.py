"""A producer that writes what Python's client cannot: header names that are not UTF-8, as C clients may."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import confluent_kafka

_PRODUCER, _TOPIC, _PARTITION, _VALUE, _KEY, _HEADER = 0, 1, 3, 4, 5, 9


class _Memory(ctypes.Structure):
    _fields_ = (("mem", ctypes.c_char_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_char_p), ("size", ctypes.c_ssize_t))


class _Any(ctypes.Union):
    _fields_ = (
        ("cstr", ctypes.c_char_p),
        ("i32", ctypes.c_int32),
        ("mem", _Memory),
        ("header", _Header),
        ("pad", ctypes.c_char * 64),
    )


class _Part(ctypes.Structure):
    """``rd_kafka_vu_t``: a typed part of a message."""

    _fields_ = (("kind", ctypes.c_int), ("u", _Any))


def _library() -> ctypes.CDLL:
    """Return the librdkafka that comes with the client."""
    place = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    library = ctypes.CDLL(str(next(place.glob("librdkafka*"))))
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_conf_set", ctypes.c_int, [pointer, text, text, text, ctypes.c_size_t]),
        ("rd_kafka_new", pointer, [ctypes.c_int, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_produceva", pointer, [pointer, ctypes.POINTER(_Part), ctypes.c_size_t]),
        ("rd_kafka_flush", ctypes.c_int, [pointer, ctypes.c_int]),
        ("rd_kafka_destroy", None, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def produce(
    servers: str, topic: str, key: bytes, value: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> None:
    """Append one record to partition 0."""
    library, reason = _library(), ctypes.create_string_buffer(512)
    settings = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(settings, b"bootstrap.servers", servers.encode(), reason, len(reason))
    producer = library.rd_kafka_new(_PRODUCER, settings, reason, len(reason))
    assert producer, reason.value
    parts = [
        _Part(_TOPIC, _Any(cstr=topic.encode())),
        _Part(_PARTITION, _Any(i32=0)),
        _Part(_KEY, _Any(mem=_Memory(key, len(key)))),
        _Part(_VALUE, _Any(mem=_Memory(value, len(value)))),
        *[_Part(_HEADER, _Any(header=_Header(name, text, len(text)))) for name, text in headers],
    ]
    try:
        assert library.rd_kafka_produceva(producer, (_Part * len(parts))(*parts), len(parts)) is None
        assert library.rd_kafka_flush(producer, 10_000) == 0
    finally:
        library.rd_kafka_destroy(producer)
