"""Records from outside: what is taken, and with which word everything else is refused."""

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import given

from sluice import records
from sluice.errors import InvalidRecord
from sluice.records import Answer, Forget, Interaction, Item, User, check_id, decode_interaction


def document(**fields) -> bytes:
    return orjson.dumps({"user_id": "u", "item_id": "i"} | fields)


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return value


GOOD = [
    (b'{"user_id":"u","item_id":"i"}', Interaction(user_id="u", item_id="i")),
    (b' \r\n\t{"user_id":"u","item_id":"i"}\n', Interaction(user_id="u", item_id="i")),
    (
        document(event="cart", value=2, ts=0),
        Interaction(user_id="u", item_id="i", event="cart", value=2.0, ts=0),
    ),
    (
        document(session_id="s", event_id="e", request_id="r", ts=(1 << 53) - 1),
        Interaction(user_id="u", item_id="i", session_id="s", event_id="e", request_id="r", ts=(1 << 53) - 1),
    ),
    (document(session_id=None, ts=None), Interaction(user_id="u", item_id="i")),
    (document(unknown={"field": [1]}), Interaction(user_id="u", item_id="i")),
    (document(value=1e6), Interaction(user_id="u", item_id="i", value=1e6)),
    (document(user_id="x" * 256), Interaction(user_id="x" * 256, item_id="i")),
    (document(user_id="é" * 128), Interaction(user_id="é" * 128, item_id="i")),
    (b'{"user_id":"\\ud83d\\ude42","item_id":"i"}', Interaction(user_id="🙂", item_id="i")),
    (b"u:i", Interaction(user_id="u", item_id="i")),
    (b"u:i\r\n", Interaction(user_id="u", item_id="i")),
    (b"1:2", Interaction(user_id="1", item_id="2")),
    (b"u:a:b:c", Interaction(user_id="u", item_id="a:b:c")),
    (b"u::", Interaction(user_id="u", item_id=":")),
    ("ü—用户:🙂 é".encode(), Interaction(user_id="ü—用户", item_id="🙂 é")),
    (b"u:" + b"x" * 256, Interaction(user_id="u", item_id="x" * 256)),
    (b'{"user_id":"u","control":"forget"}', Forget(user_id="u")),
    (document(control="forget"), Forget(user_id="u")),
]


@pytest.mark.parametrize(("payload", "expected"), GOOD, ids=[repr(payload[:40]) for payload, _ in GOOD])
def test_a_well_formed_interaction_is_read(payload, expected):
    assert decode_interaction(payload) == expected


MALFORMED = [
    # shape
    ("empty", b"", "bad-shape"),
    ("blank", b" \n", "bad-shape"),
    ("a word", b"hello", "bad-shape"),
    ("an array", b"[]", "bad-shape"),
    ("an array of interactions", b'[{"user_id":"u","item_id":"i"}]', "bad-shape"),
    ("null", b"null", "bad-shape"),
    ("a number", b"17", "bad-shape"),
    ("a text without colon, in quotes", b'"u"', "bad-shape"),
    # JSON
    ("cut off", b'{"user_id":"u","item_', "bad-json"),
    ("one brace", b"{", "bad-json"),
    ("after a byte order mark", b'\xef\xbb\xbf{"user_id":"u","item_id":"i"}', "bad-json"),
    ("two documents", b'{"user_id":"u","item_id":"i"}{}', "bad-json"),
    ("single quotes", b"{'user_id':'u','item_id':'i'}", "bad-json"),
    ("trailing comma", b'{"user_id":"u","item_id":"i",}', "bad-json"),
    ("a comment", b'{"user_id":"u","item_id":"i"} // x', "bad-json"),
    ("NaN", b'{"user_id":"u","item_id":"i","value":NaN}', "bad-json"),
    ("Infinity", b'{"user_id":"u","item_id":"i","value":Infinity}', "bad-json"),
    ("-Infinity", b'{"user_id":"u","item_id":"i","value":-Infinity}', "bad-json"),
    ("a number beyond floats", b'{"user_id":"u","item_id":"i","value":1e999}', "bad-json"),
    ("a lone high surrogate", b'{"user_id":"\\ud800","item_id":"i"}', "bad-json"),
    ("a lone low surrogate", b'{"user_id":"u","item_id":"\\udc00x"}', "bad-json"),
    ("bytes that are no UTF-8 in JSON", b'{"user_id":"\xff","item_id":"i"}', "bad-json"),
    ("a raw control character in JSON", b'{"user_id":"u\n","item_id":"i"}', "bad-json"),
    ("nested beyond the parser", b'{"user_id":' + b"[" * 2000 + b"]" * 2000 + b"}", "bad-json"),
    ("UTF-16", '{"user_id":"u","item_id":"i"}'.encode("utf-16"), "bad-utf8"),
    ("gzip", b"\x1f\x8b\x08\x00abc:def\xff", "bad-utf8"),
    ("latin-1 text", "ü:i".encode("latin-1"), "bad-utf8"),
    ("a surrogate in UTF-8 text", b"\xed\xa0\x80:i", "bad-utf8"),
    ("protobuf or avro", b"\x00\x00\x00\x00\x01\x02u\x02i\x80", "bad-utf8"),
    # size and depth
    ("64 KiB and one byte", document(note="x" * (64 * 1024)), "too-large"),
    ("nested 18 deep", document(note=nested(18)), "too-deep"),
    (
        "arrays nested 500 deep",
        b'{"user_id":"u","item_id":"i","a":' + b"[" * 500 + b"]" * 500 + b"}",
        "too-deep",
    ),
    # fields
    ("no user", b'{"item_id":"i"}', "missing-field"),
    ("no item", b'{"user_id":"u"}', "missing-field"),
    ("an empty object", b"{}", "missing-field"),
    ("other spelling", b'{"userId":"u","itemId":"i"}', "missing-field"),
    ("user a number", document(user_id=7), "bad-field"),
    ("user null", document(user_id=None), "bad-field"),
    ("user true", document(user_id=True), "bad-field"),
    ("user an array", document(user_id=["u"]), "bad-field"),
    ("user an object", document(user_id={"$ne": ""}), "bad-field"),
    ("item a number", document(item_id=1.5), "bad-field"),
    ("event a number", document(event=3), "bad-field"),
    ("event null", document(event=None), "bad-field"),
    ("value a string", document(value="1"), "bad-field"),
    ("value null", document(value=None), "bad-field"),
    ("value true", document(value=True), "bad-field"),
    ("value 0", document(value=0), "bad-field"),
    ("value -1", document(value=-1), "bad-field"),
    ("value above 1e6", document(value=1_000_000.5), "bad-field"),
    ("value 1e308", document(value=1e308), "bad-field"),
    ("ts a string", document(ts="2024-01-01"), "bad-field"),
    ("ts a fraction", document(ts=1.5), "bad-field"),
    ("ts negative", document(ts=-1), "bad-field"),
    ("ts of 2^53", document(ts=1 << 53), "bad-field"),
    ("ts of 20 digits", b'{"user_id":"u","item_id":"i","ts":99999999999999999999}', "bad-field"),
    ("session a number", document(session_id=1), "bad-field"),
    ("event_id an object", document(event_id={}), "bad-field"),
    # ids
    ("empty user", document(user_id=""), "bad-id"),
    ("empty item", document(item_id=""), "bad-id"),
    ("user of 257 bytes", document(user_id="x" * 257), "bad-id"),
    ("user of 10 kB", document(user_id="x" * 10_000), "bad-id"),
    ("item of 129 two-byte characters", document(item_id="é" * 129), "bad-id"),
    ("event of 10 kB", document(event="x" * 10_000), "bad-id"),
    ("empty event", document(event=""), "bad-id"),
    ("empty event_id", document(event_id=""), "bad-id"),
    ("request_id with a line break", document(request_id="a\nb"), "bad-id"),
    ("user with NUL", document(user_id="a\x00b"), "bad-id"),
    ("item with an escape", document(item_id="\x1b[31m"), "bad-id"),
    ("item with DEL", document(item_id="a\x7f"), "bad-id"),
    ("text without user", b":i", "bad-id"),
    ("text without item", b"u:", "bad-id"),
    ("a colon", b":", "bad-id"),
    ("text with NUL", b"u\x00:i", "bad-id"),
    ("text of two lines", b"u:i\nv:j", "bad-id"),
    ("text with an item of 10 kB", b"u:" + b"x" * 10_000, "bad-id"),
    ("text of 1 MB", b"u:" + b"x" * 1_000_000, "bad-id"),
    # control
    ("forget nobody", b'{"control":"forget"}', "missing-field"),
    ("forget a number", b'{"user_id":1,"control":"forget"}', "bad-field"),
    ("forget an empty id", b'{"user_id":"","control":"forget"}', "bad-id"),
    ("unknown control", b'{"user_id":"u","control":"explode"}', "bad-control"),
    ("control in capitals", b'{"user_id":"u","control":"Forget"}', "bad-control"),
    ("control null", b'{"user_id":"u","control":null}', "bad-field"),
    ("control a list", b'{"user_id":"u","control":["forget"]}', "bad-field"),
]


@pytest.mark.parametrize(
    ("payload", "reason"), [each[1:] for each in MALFORMED], ids=[each[0] for each in MALFORMED]
)
def test_a_malformed_interaction_is_refused_with_its_reason(payload, reason):
    with pytest.raises(InvalidRecord) as refused:
        decode_interaction(payload)
    assert refused.value.reason == reason
    assert len(str(refused.value)) < 400


REASONS = {reason for _, _, reason in MALFORMED}


def outcome(read, given_value):
    """The reason of the refusal, or the record that was read."""
    try:
        return read(given_value)
    except InvalidRecord as error:
        return error.reason


@given(st.binary(max_size=200))
def test_any_bytes_are_an_interaction_or_refused(payload):
    got = outcome(decode_interaction, payload)
    assert got in REASONS if isinstance(got, str) else check_id(got.user_id, "user_id")


CORPUS = [payload for payload, _ in GOOD] + [payload for _, payload, _ in MALFORMED if len(payload) < 20_000]
WHOLE = [
    document(value=number, ts=other)
    for number in (1, -0.0, 1e6, 1e-9, 12345678901234567890, True)
    for other in (0, 1.0, -1, None)
] + [
    b'{"user_id":"u","item_id":"i","value":-0}',
    b'{"user_id":"u","item_id":"i","ts":1e3}',
    b'{"user_id":"u","item_id":"i","ts":-0}',
    b'{"user_id":"u","item_id":"i","value":1E2}',
    b'{"user_id":"u","user_id":"v","item_id":"i"}',
    b'{"user_id":1,"user_id":"v","item_id":"i"}',
    b'{"user_id":"u","item_id":"i","x":"\xff"}',
    b'{"user_id":"u","item_id":"i","contr\\u006fl":"forget"}',
    b'{"user_id":"\\u00e9\\ud83d\\ude42","item_id":"\xc2\xa0"}',
    document(user_id="x" * 64, item_id="\u200b"),
    document(user_id="🙂" * 64, item_id="🙂" * 65),
]


@given(
    st.sampled_from(CORPUS + WHOLE),
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=2)), max_size=3),
)
def test_the_fast_way_gives_what_the_careful_way_gives(payload, edits):
    """Also for payloads that something has been put into or taken out of."""
    for place, new in edits:
        at = place % (len(payload) + 1)
        payload = payload[:at] + new + payload[at + (place % 2) :]
    fast, careful = outcome(decode_interaction, payload), outcome(records._with_care, payload)
    assert fast == careful
    assert repr(fast) == repr(careful), "-0.0 and 0.0 count as equal"


@pytest.mark.parametrize("payload", CORPUS + WHOLE, ids=lambda payload: repr(payload[:40]))
def test_the_fast_way_gives_what_the_careful_way_gives_for_the_whole_corpus(payload):
    assert repr(outcome(decode_interaction, payload)) == repr(outcome(records._with_care, payload))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [*Interaction.__struct_fields__, *Item.__struct_fields__, *User.__struct_fields__, "control"]
)


@given(st.dictionaries(FIELDS, JSON, max_size=6), st.booleans())
def test_any_document_is_a_record_or_refused(made, named):
    made = {"user_id": "u", "item_id": "i"} | made if named else made
    for read in (records.interaction_from, records.item_from, records.user_from):
        got = outcome(read, made)
        assert got in REASONS if isinstance(got, str) else records.encode(got)


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_what_is_encoded_is_read_back(user, item):
    try:
        record = Interaction(
            user_id=check_id(user, "user_id"), item_id=check_id(item, "item_id"), value=2.5, ts=3
        )
    except InvalidRecord:
        return
    assert decode_interaction(records.encode(record)) == record
    assert decode_interaction(records.encode(Forget(user_id=user))) == Forget(user_id=user)


@pytest.mark.parametrize("value", [7, None, b"u", ["u"], "\ud800", "", "x" * 257, "a\tb", "\x7f"])
def test_an_id_must_be_a_short_clean_text(value):
    with pytest.raises(InvalidRecord, match="item_id") as refused:
        check_id(value, "item_id")
    assert refused.value.reason == "bad-id"


def test_an_item_is_read_whole():
    payload = b'{"item_id":"i","title":"T","features":["genre:x"],"attributes":{"a":[1]},"available":false}'
    item = Item(item_id="i", title="T", features=("genre:x",), attributes={"a": [1]}, available=False)
    assert records.decode_item(payload) == item
    assert records.decode_item(records.encode(item)) == item


BAD_ITEMS = [
    (b"", "bad-json"),
    (b"i", "bad-json"),
    (b"[]", "bad-shape"),
    (b'"i"', "bad-shape"),
    (b"{}", "missing-field"),
    (b'{"item_id":1}', "bad-field"),
    (b'{"item_id":""}', "bad-id"),
    (b'{"item_id":"i","title":1}', "bad-field"),
    (b'{"item_id":"i","features":"x"}', "bad-field"),
    (b'{"item_id":"i","features":[1]}', "bad-field"),
    (b'{"item_id":"i","features":[""]}', "bad-id"),
    (orjson.dumps({"item_id": "i", "features": ["x" * 257]}), "bad-id"),
    (orjson.dumps({"item_id": "i", "features": ["f"] * 257}), "bad-field"),
    (b'{"item_id":"i","attributes":[1]}', "bad-field"),
    (b'{"item_id":"i","attributes":{"a":NaN}}', "bad-json"),
    (orjson.dumps({"item_id": "i", "attributes": nested(17)}), "too-deep"),
    (b'{"item_id":"i","available":"yes"}', "bad-field"),
    (orjson.dumps({"item_id": "i", "title": "x" * 65_536}), "too-large"),
]


@pytest.mark.parametrize(("payload", "reason"), BAD_ITEMS, ids=[repr(each[0][:40]) for each in BAD_ITEMS])
def test_a_malformed_item_is_refused_with_its_reason(payload, reason):
    with pytest.raises(InvalidRecord) as refused:
        records.decode_item(payload)
    assert refused.value.reason == reason


def test_a_user_is_read_whole():
    views = {"course-1": {"seconds": 340, "level": "Beginner"}}
    payload = orjson.dumps({"user_id": "u", "features": ["f"], "interests": {"python": 3}, "views": views})
    user = User(user_id="u", features=("f",), interests={"python": 3.0}, views=views)
    assert records.decode_user(payload) == user
    assert records.decode_user(records.encode(user)) == user


BAD_USERS = [
    (b"null", "bad-shape"),
    (b'{"item_id":"i"}', "missing-field"),
    (b'{"user_id":null}', "bad-field"),
    (b'{"user_id":"a\\u0000"}', "bad-id"),
    (b'{"user_id":"u","interests":{"a":"b"}}', "bad-field"),
    (b'{"user_id":"u","interests":[1]}', "bad-field"),
    (b'{"user_id":"u","views":{"a":1}}', "bad-field"),
    (b'{"user_id":"u","features":null}', "bad-field"),
]


@pytest.mark.parametrize(("payload", "reason"), BAD_USERS, ids=[repr(each[0][:40]) for each in BAD_USERS])
def test_a_malformed_user_is_refused_with_its_reason(payload, reason):
    with pytest.raises(InvalidRecord) as refused:
        records.decode_user(payload)
    assert refused.value.reason == reason


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), float("-inf")])
def test_an_interest_must_be_finite(weight):
    with pytest.raises(InvalidRecord, match=r"interests\.python"):
        records.user_from({"user_id": "u", "interests": {"python": weight}})


def test_an_answer_is_read_back_and_anything_else_refused():
    answer = Answer(request_id="r", user_id="u", model="d.m", snapshot="s", items=("a", "b"), ts=5)
    assert records.decode_answer(records.encode(answer)) == answer
    for payload in (
        b"",
        b"{}",
        b"null",
        b"\xff",
        b'{"request_id":"\xff"}',
        b"[" * 5000,
        records.encode(answer)[:-1],
    ):
        with pytest.raises(InvalidRecord):
            records.decode_answer(payload)
