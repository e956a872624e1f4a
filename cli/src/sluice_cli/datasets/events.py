"""A user's own file of events: JSON lines, CSV with a header, or ``user:item`` lines, gzipped or not.

The content decides, not the name. A row that breaks the contract is refused with its line number and
reason; the others count. Lines are read one by one, so a broken quote or a huge line costs that line only.
"""

import csv
import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Final

import msgspec

from sluice.errors import InvalidRecord
from sluice.records import MAX_RECORD_BYTES, Forget, Interaction, decode_interaction, interaction_from
from sluice_cli.datasets.dataset import BadRow, Dataset, DatasetError, Options, bare_items, in_time_order

COLUMNS: Final = ("user_id", "item_id", "event", "value", "ts", "session_id", "event_id", "request_id")
FORMATS: Final = (
    "JSON lines, CSV with the header user_id,item_id[,event,value,ts,session_id,event_id], or user:item"
)
HEAD_BYTES: Final = 64 * 1024

Parse = Callable[[bytes], Interaction | Forget]


def load_events(path: Path, options: Options | None = None) -> Dataset:
    """Read ``path``; rows without ``event_id`` get one made of the file's beginning and the line number.

    Raises :class:`DatasetError` if the file cannot be read, its format is unknown, or no row is usable.
    """
    interactions: list[Interaction] = []
    bad_rows: list[BadRow] = []
    try:
        with gzip.open(path) if _packed(path) else path.open("rb") as handle:
            head = handle.read(HEAD_BYTES)
            handle.seek(0)
            digest = hashlib.sha256(head).hexdigest()[:8]
            for row in _rows(handle, *_detect(path, head)):
                if isinstance(row, BadRow):
                    bad_rows.append(row)
                else:
                    interactions.append(_with_event_id(row[1], f"events-{digest}-{row[0]}"))
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read ({error}); name a readable file of events") from error
    if not interactions:
        first = f"; the first is {bad_rows[0]}" if bad_rows else ""
        raise DatasetError(f"{path} holds no usable event ({len(bad_rows)} rows refused{first})")
    ordered = in_time_order(interactions)[: None if options is None else options.limit]
    return Dataset(
        f"file:{path.name}", f"events of {path.name}", ordered, bare_items(ordered), tuple(bad_rows)
    )


def _packed(path: Path) -> bool:
    with path.open("rb") as probe:
        return probe.read(2) == b"\x1f\x8b"


def _detect(path: Path, head: bytes) -> tuple[Parse, bool]:
    """Return the parser of a row, and whether the first line is a header."""
    lines = [line.strip() for line in head.removeprefix(b"\xef\xbb\xbf").split(b"\n")[:20]]
    lines = [line for line in lines if line]
    if not lines:
        raise DatasetError(f"{path} is empty; give it {FORMATS}")
    if lines[0].startswith(b"["):
        raise DatasetError(f"{path} is a JSON array; write one object per line")
    if any(line.startswith(b"{") for line in lines):
        return _json_row, False
    columns = [column.strip() for column in lines[0].decode(errors="replace").split(",")]
    if {"user_id", "item_id"} & set(columns):
        return _csv_row(_checked(path, columns)), True
    if any(b":" in line for line in lines):
        return _pair_row, False
    raise DatasetError(f"{path} line 1 shows no known format; use {FORMATS}")


def _checked(path: Path, columns: list[str]) -> list[str]:
    for column in ("user_id", "item_id"):
        if column not in columns:
            raise DatasetError(f"{path} line 1: the column {column} is missing; add it")
    for column in columns:
        if column not in COLUMNS or columns.count(column) > 1:
            raise DatasetError(
                f"{path} line 1: column {column[:40]!r} is unknown or twice there; rename or remove it "
                f"(known: {','.join(COLUMNS)})"
            )
    return columns


def _rows(handle: BufferedIOBase, parse: Parse, header: bool) -> Iterator[tuple[int, Interaction] | BadRow]:
    for number, line in _numbered(handle):
        if not line or header:
            header = header and not line
            continue
        try:
            yield number, _only_interaction(parse(line))
        except InvalidRecord as error:
            yield BadRow(number, error.reason, str(error))


def _numbered(handle: BufferedIOBase) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line without blanks around it); what exceeds a record's size is passed over."""
    number = 0
    while line := handle.readline(MAX_RECORD_BYTES + 2):
        number += 1
        rest = line
        while not rest.endswith(b"\n") and (rest := handle.readline(MAX_RECORD_BYTES)):
            pass
        yield number, (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip()


def _only_interaction(record: Interaction | Forget) -> Interaction:
    if isinstance(record, Forget):
        raise InvalidRecord("not-an-event", "a forget record is no interaction; send it to the API instead")
    return record


def _with_event_id(interaction: Interaction, event_id: str) -> Interaction:
    return interaction if interaction.event_id else msgspec.structs.replace(interaction, event_id=event_id)


def _json_row(line: bytes) -> Interaction | Forget:
    if not line.startswith(b"{"):
        raise InvalidRecord("bad-json", "the line is no JSON object; write one object per line")
    return decode_interaction(line)


def _pair_row(line: bytes) -> Interaction | Forget:
    if line.startswith((b"{", b"[")):
        raise InvalidRecord("bad-shape", "the line is JSON in a file of user:item lines; use one format")
    return decode_interaction(line)


def _csv_row(columns: list[str]) -> Parse:
    def parse(line: bytes) -> Interaction | Forget:
        try:
            cells = next(csv.reader((line.decode(),), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidRecord("bad-csv", f"the line is not CSV in UTF-8 ({error}); correct it") from error
        if len(cells) != len(columns):
            raise InvalidRecord(
                "bad-csv", f"the line has {len(cells)} cells, the header {len(columns)}; correct it"
            )
        document: dict[str, Any] = {column: cell for column, cell in zip(columns, cells, strict=True) if cell}
        return interaction_from(_with_numbers(document))

    return parse


def _with_numbers(document: dict[str, Any]) -> dict[str, Any]:
    for column, kind in (("value", float), ("ts", int)):
        if column in document:
            try:
                document[column] = kind(document[column])
            except ValueError as error:
                raise InvalidRecord(
                    "bad-field", f"{column} must be a number, not {document[column][:40]!r}; correct it"
                ) from error
    return document
