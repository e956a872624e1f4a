"""Records that nobody may apply: one for each way to be wrong, with the reason its dead letter must name."""

from typing import NamedTuple

_U = b'"user_id":"u"'
_UI = _U + b',"item_id":"i"'


class Poison(NamedTuple):
    """What is produced (``key`` None = without one) and the reason that is expected."""

    kind: str
    key: bytes | None
    value: bytes | None
    reason: str


def _obj(*members: bytes) -> bytes:
    return b"{" + b",".join(members) + b"}"


def _deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


INTERACTIONS = [
    Poison("no value", b"u", None, "empty"),
    Poison("no key and no value", None, None, "empty"),
    Poison("empty", b"u", b"", "bad-shape"),
    Poison("blank", b"u", b" \n\t", "bad-shape"),
    Poison("no UTF-8", b"u", b"\xff\xfe\xfa:i", "bad-utf8"),
    Poison("overlong UTF-8", b"u", b"u:\xc0\xaf", "bad-utf8"),
    Poison("text without colon", b"u", b"click", "bad-shape"),
    Poison("text without item", b"u", b"u:", "bad-id"),
    Poison("text without user", b"u", b":i", "bad-id"),
    Poison("text with a bell", b"u", b"u:\x07i", "bad-id"),
    Poison("number", b"u", b"42", "bad-shape"),
    Poison("null", b"u", b"null", "bad-shape"),
    Poison("empty list", b"u", b"[]", "bad-shape"),
    Poison("list of one", b"u", b"[" + _obj(_UI) + b"]", "bad-shape"),
    Poison("truncated", b"u", b'{"user_id":"u","item_', "bad-json"),
    Poison("only a brace", b"u", b"{", "bad-json"),
    Poison("two objects", b"u", 2 * _obj(_UI), "bad-json"),
    Poison("trailing words", b"u", _obj(_UI) + b" and more", "bad-json"),
    Poison("single quotes", b"u", b"{'user_id':'u','item_id':'i'}", "bad-json"),
    Poison("trailing comma", b"u", b"{" + _UI + b",}", "bad-json"),
    Poison("UTF-16", b"u", b"{\x00" + '"user_id"'.encode("utf-16-le"), "bad-json"),
    Poison("no UTF-8 in JSON", b"u", _obj(b'"user_id":"\xff"', b'"item_id":"i"'), "bad-json"),
    Poison("lone surrogate", b"u", _obj(b'"user_id":"\\ud800"', b'"item_id":"i"'), "bad-json"),
    Poison("raw control character", b"u", _obj(b'"user_id":"a\x01b"', b'"item_id":"i"'), "bad-json"),
    Poison("NaN", b"u", _obj(_UI, b'"value":NaN'), "bad-json"),
    Poison("infinite", b"u", _obj(_UI, b'"value":-Infinity'), "bad-json"),
    Poison("1000 deep", b"u", _obj(_UI, b'"x":' + _deep(2_000)), "bad-json"),
    Poison("17 deep", b"u", _obj(_UI, b'"x":' + _deep(17)), "too-deep"),
    Poison("too large", b"u", _obj(_UI, b'"x":"' + 70_000 * b"x" + b'"'), "too-large"),
    Poison("so large that its letter is cut", b"u", _obj(_UI, b'"x":"' + 800_000 * b"x" + b'"'), "too-large"),
    Poison("no members", b"u", b"{}", "missing-field"),
    Poison("no item", b"u", _obj(_U), "missing-field"),
    Poison("no user", b"u", _obj(b'"item_id":"i"'), "missing-field"),
    Poison("number as user", b"u", _obj(b'"user_id":7', b'"item_id":"i"'), "bad-field"),
    Poison("null as item", b"u", _obj(_U, b'"item_id":null'), "bad-field"),
    Poison("list as item", b"u", _obj(_U, b'"item_id":["i"]'), "bad-field"),
    Poison("query as user", b"u", _obj(b'"user_id":{"$ne":null}', b'"item_id":"i"'), "bad-field"),
    Poison("empty user", b"u", _obj(b'"user_id":""', b'"item_id":"i"'), "bad-id"),
    Poison("long item", b"u", _obj(_U, b'"item_id":"' + 257 * b"x" + b'"'), "bad-id"),
    Poison("NUL", b"u", _obj(_U, b'"item_id":"a\\u0000b"'), "bad-id"),
    Poison("line break", b"u", _obj(_U, b'"item_id":"a\\nb"'), "bad-id"),
    Poison("DEL", b"u", _obj(_U, b'"item_id":"a\x7fb"'), "bad-id"),
    Poison("empty event", b"u", _obj(_UI, b'"event":""'), "bad-id"),
    Poison("number as event", b"u", _obj(_UI, b'"event":3'), "bad-field"),
    Poison("text as value", b"u", _obj(_UI, b'"value":"1"'), "bad-field"),
    Poison("truth as value", b"u", _obj(_UI, b'"value":true'), "bad-field"),
    Poison("no value at all", b"u", _obj(_UI, b'"value":0'), "bad-field"),
    Poison("negative value", b"u", _obj(_UI, b'"value":-1'), "bad-field"),
    Poison("enormous value", b"u", _obj(_UI, b'"value":1e300'), "bad-field"),
    Poison("negative time", b"u", _obj(_UI, b'"ts":-1'), "bad-field"),
    Poison("half a millisecond", b"u", _obj(_UI, b'"ts":1.5'), "bad-field"),
    Poison("text as time", b"u", _obj(_UI, b'"ts":"now"'), "bad-field"),
    Poison("time beyond doubles", b"u", _obj(_UI, b'"ts":9007199254740993'), "bad-field"),
    Poison("time beyond 64 bits", b"u", _obj(_UI, b'"ts":1' + 30 * b"0"), "bad-field"),
    Poison("list as session", b"u", _obj(_UI, b'"session_id":[]'), "bad-field"),
    Poison("number as event id", b"u", _obj(_UI, b'"event_id":1'), "bad-field"),
    Poison("tab in a request id", b"u", _obj(_UI, b'"request_id":"\\t"'), "bad-id"),
    Poison("unknown control", b"u", _obj(_U, b'"control":"remember"'), "bad-control"),
    Poison("number as control", b"u", _obj(_U, b'"control":1'), "bad-field"),
    Poison("control of nobody", b"u", _obj(b'"control":"forget"'), "missing-field"),
]

ITEMS = [
    Poison("empty", b"i", b"", "bad-json"),
    Poison("text", b"i", b"u:i", "bad-json"),
    Poison("no UTF-8", b"i", b"\xff", "bad-json"),
    Poison("truncated", b"i", b'{"item_id":"i"', "bad-json"),
    Poison("list", b"i", b"[]", "bad-shape"),
    Poison("no id", b"i", b'{"title":"t"}', "missing-field"),
    Poison("wrong key", b"other", b'{"item_id":"i"}', "bad-key"),
    Poison("deleted without a name", b"", None, "bad-id"),
    Poison("deleted by a key that is no text", b"\xff\xfe", None, "bad-id"),
    Poison("deleted by a key with a bell", b"\x07", None, "bad-id"),
    Poison("number as title", b"i", b'{"item_id":"i","title":1}', "bad-field"),
    Poison("text as availability", b"i", b'{"item_id":"i","available":"no"}', "bad-field"),
    Poison("list as attributes", b"i", b'{"item_id":"i","attributes":[]}', "bad-field"),
    Poison(
        "too many features",
        b"i",
        b'{"item_id":"i","features":[' + b",".join(b'"f:%d"' % n for n in range(257)) + b"]}",
        "bad-field",
    ),
    Poison("empty feature", b"i", b'{"item_id":"i","features":[""]}', "bad-id"),
    Poison("17 deep", b"i", b'{"item_id":"i","attributes":{"x":' + _deep(17) + b"}}", "too-deep"),
    Poison("too large", b"i", b'{"item_id":"i","title":"' + 70_000 * b"x" + b'"}', "too-large"),
]

USERS = [
    Poison("no UTF-8", b"u", b"\xfe", "bad-json"),
    Poison("number", b"u", b"1", "bad-shape"),
    Poison("no id", b"u", b"{}", "missing-field"),
    Poison("wrong key", b"other", b'{"user_id":"u"}', "bad-key"),
    Poison("deleted by a key that is no text", b"\xc3", None, "bad-id"),
    Poison("NaN as interest", b"u", b'{"user_id":"u","interests":{"x":NaN}}', "bad-json"),
    Poison("text as interest", b"u", b'{"user_id":"u","interests":{"x":"1"}}', "bad-field"),
    Poison("list as views", b"u", b'{"user_id":"u","views":[]}', "bad-field"),
    Poison("control character as feature", b"u", b'{"user_id":"u","features":["\\u0001"]}', "bad-id"),
]

_ANSWER = b'"request_id":"r","user_id":"u","model":"m","snapshot":"s","ts":1'
ANSWERS = [
    Poison("no value", b"u", None, "empty"),
    Poison("no key", None, b"[]", "bad-field"),
    Poison("empty", b"u", b"", "bad-field"),
    Poison("text", b"u", b"u:i", "bad-field"),
    Poison("no UTF-8", b"u", b'{"user_id":"\xff"}', "bad-field"),
    Poison("no items", b"u", _obj(_ANSWER), "bad-field"),
    Poison("number as item", b"u", _obj(_ANSWER, b'"items":[1]'), "bad-field"),
    Poison("deep", b"u", _obj(_ANSWER, b'"items":' + _deep(3_000)), "bad-field"),
    Poison("empty user", b"u", _obj(_ANSWER.replace(b'"u"', b'""'), b'"items":[]'), "bad-id"),
]
