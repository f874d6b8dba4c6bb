"""What a request wants of a file: all, a range, or nothing if it has it already. See RFC 9110, 13 and 14.

Arithmetic on header fields. Never touches a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from email.utils import formatdate, mktime_tz, parsedate_tz

#: One range; a number longer than this is none that Python reads.
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,4000})\s*-\s*(\d{0,4000})", re.IGNORECASE | re.ASCII)
_TAG = re.compile(r'(W/)?"[^"]*"')

Fields = Mapping[str, str]


class Version:
    """A file as it is now: `tag` and `date` are for the fields ETag and Last-Modified."""

    __slots__ = ("date", "size", "tag", "when")

    def __init__(self, status: os.stat_result) -> None:
        self.size = status.st_size
        self.when = status.st_mtime_ns // 10**9
        self.tag = f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"'
        self.date = formatdate(self.when, usegmt=True)


def verdict(fields: Fields, version: Version) -> int:
    """200 if the file is wanted, 304 if not, 412 if another one would be."""
    if "if-match" in fields:
        if not _listed(fields["if-match"], version.tag, weak=False):
            return 412
    elif "if-unmodified-since" in fields:
        since = _date(fields["if-unmodified-since"])
        if since is not None and version.when > since:
            return 412
    if "if-none-match" in fields:
        return 304 if _listed(fields["if-none-match"], version.tag, weak=True) else 200
    since = _date(fields.get("if-modified-since", ""))
    return 304 if since is not None and version.when <= since else 200


def span(fields: Fields, version: Version) -> tuple[int, int] | None:
    """The first byte that is wanted and how many; none of them if the file has no such bytes.

    None means all of it: no range is asked for, or none that can be understood, or of another version; or
    several, which may be answered so.
    """
    match = _RANGE.fullmatch(fields.get("range", "").strip())
    condition = fields.get("if-range", version.tag).strip()
    if match is None or condition not in (version.tag, version.date) or version.size == 0:
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        count = min(int(last), version.size)
        return version.size - count, count
    start = int(first)
    end = int(last) if last else max(start, version.size)
    if start > end:
        return None
    return start, max(min(end + 1, version.size) - start, 0)


def _listed(value: str, tag: str, weak: bool) -> bool:
    if value.strip() == "*":
        return True
    found = [match[0] for match in _TAG.finditer(value)]
    return tag in found or (weak and "W/" + tag in found)


def _date(value: str) -> float | None:
    """Seconds since the epoch; None for what is no date."""
    parsed = parsedate_tz(value)
    if parsed is None:
        return None
    try:
        return mktime_tz(parsed)
    except (ValueError, OverflowError):
        return None
