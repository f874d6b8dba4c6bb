"""Conditional and range requests: preconditions and ranges evaluated against a representation. See RFC 9110, 13 and 14.

Reads header fields, and never a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from email.utils import formatdate, mktime_tz, parsedate_tz

#: A Range field with one range. Longer numbers are refused, because converting them would take long.
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,4000})\s*-\s*(\d{0,4000})", re.IGNORECASE | re.ASCII)
_ENTITY_TAG = re.compile(r'(W/)?"[^"]*"')

#: Header fields of a request, by their names in lower case.
Fields = Mapping[str, str]


class Representation:
    """A file as it is now: its size in bytes, and its validators.

    `etag` and `last_modified` are the values of these fields; `mtime` is the latter in seconds since the epoch.
    """

    __slots__ = ("etag", "last_modified", "mtime", "size")

    def __init__(self, status: os.stat_result) -> None:
        self.size = status.st_size
        self.mtime = status.st_mtime_ns // 10**9
        self.etag = f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"'
        self.last_modified = formatdate(self.mtime, usegmt=True)


def precondition_status(fields: Fields, representation: Representation) -> int:
    """Evaluate the preconditions of a GET or HEAD request: 200 to send the file, 304 or 412. See RFC 9110, 13.2.2."""
    if "if-match" in fields:
        if not _matches(fields["if-match"], representation.etag, weak=False):
            return 412
    elif "if-unmodified-since" in fields:
        date = _parse_date(fields["if-unmodified-since"])
        if date is not None and representation.mtime > date:
            return 412
    if "if-none-match" in fields:
        return 304 if _matches(fields["if-none-match"], representation.etag, weak=True) else 200
    date = _parse_date(fields.get("if-modified-since", ""))
    return 304 if date is not None and representation.mtime <= date else 200


def requested_range(fields: Fields, representation: Representation) -> tuple[int, int] | None:
    """Return the first byte of the requested range, and its length; a length of 0 if it can't be satisfied (416).

    None means the whole file: there is no valid Range field, If-Range has another validator, or the field has several
    ranges, which a server may ignore.
    """
    match = _RANGE.fullmatch(fields.get("range", "").strip())
    validator = fields.get("if-range", representation.etag).strip()
    size = representation.size
    if match is None or validator not in (representation.etag, representation.last_modified) or size == 0:
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        suffix = min(int(last), size)
        return size - suffix, suffix
    start = int(first)
    end = int(last) if last else max(start, size)
    if start > end:
        return None
    return start, max(min(end + 1, size) - start, 0)


def _matches(value: str, etag: str, weak: bool) -> bool:
    """True if a list of entity tags, or `*`, matches this one, compared weakly or strongly. See RFC 9110, 8.8.3.2."""
    if value.strip() == "*":
        return True
    tags = [match[0] for match in _ENTITY_TAG.finditer(value)]
    return etag in tags or (weak and "W/" + etag in tags)


def _parse_date(value: str) -> float | None:
    """Seconds since the epoch; None if the value isn't a date."""
    parsed = parsedate_tz(value)
    if parsed is None:
        return None
    try:
        return mktime_tz(parsed)
    except (ValueError, OverflowError):
        return None
