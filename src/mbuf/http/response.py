"""The answer to a request for a file: status, header fields, and where the bytes are.

Opens the file, and reads folders. Never reads a file, never sends.
"""

from __future__ import annotations

import errno
import html
import os
import stat
from dataclasses import dataclass, field
from http import HTTPStatus
from mimetypes import MimeTypes
from types import MappingProxyType
from urllib.parse import quote_from_bytes

from mbuf.errors import Inval
from mbuf.http.conditional import Fields, Version, span, verdict
from mbuf.http.docroot import DocRoot, names_of, target_of

#: Names in a listing: what stops it from being any number of bytes.
MOST_NAMES = 1000

_STATUS = MappingProxyType(
    {
        errno.EACCES: 403,
        errno.EPERM: 403,
        errno.ENOENT: 404,
        errno.ENOTDIR: 404,
        errno.ELOOP: 404,
        errno.ENAMETOOLONG: 404,
        errno.EMFILE: 503,
        errno.ENFILE: 503,
        errno.ENOMEM: 503,
    }
)
_TYPES = MimeTypes()


@dataclass(slots=True)
class Response:
    """A status, its fields, and a body: `text`, or `count` bytes of an open file from `start` on, until `close`."""

    status: int
    fields: dict[str, str] = field(default_factory=dict)
    text: bytes = b""
    fd: int = -1
    start: int = 0
    count: int = 0

    def close(self) -> None:
        """Let go of the file."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def refusal(status: int, **fields: str) -> Response:
    """A status and its name, for people."""
    text = f"{status} {HTTPStatus(status).phrase}\n".encode()
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return Response(status, {"content-type": "text/plain"} | named, text, count=len(text))


def answer(tree: DocRoot, method: bytes, target: bytes, fields: Fields) -> Response:
    """What to answer; ranges are for GET alone. The caller closes it."""
    if method not in (b"GET", b"HEAD"):
        return refusal(405, allow="GET, HEAD")
    try:
        names = names_of(target)
    except Inval:
        return refusal(400)
    try:
        return _found(tree, names, fields if method == b"GET" else _without_range(fields))
    except OSError as error:
        return refusal(_STATUS.get(error.errno or 0, 500))


def _found(tree: DocRoot, names: list[bytes], fields: Fields) -> Response:
    folder = not names or names[-1] == b""
    with tree.find(names) as (fd, status):
        if not stat.S_ISDIR(status.st_mode):
            return _file(tree, fd, names[-1], fields)
        if not folder:
            return refusal(301, location=target_of([*names, b""]))
        try:
            with tree.find([*names[:-1], b"index.html"]) as (index, its):
                if stat.S_ISREG(its.st_mode):
                    return _file(tree, index, b"index.html", fields)
        except FileNotFoundError:
            # Then its names are shown.
            pass
        return _listing(tree, fd, names)


def _file(tree: DocRoot, found: int, name: bytes, fields: Fields) -> Response:
    made = Response(200, fd=tree.open(found))
    try:
        version = Version(os.fstat(made.fd))
        made.fields = {"etag": version.tag, "last-modified": version.date}
        made.status = verdict(fields, version)
        if made.status != 200:
            made.close()
            return made
        made.fields |= {"content-type": _type(name), "accept-ranges": "bytes"}
        wanted = span(fields, version)
        made.start, made.count = (0, version.size) if wanted is None else wanted
        if wanted is None:
            return made
        if not made.count:
            made.close()
            return refusal(416, content_range=f"bytes */{version.size}")
        made.status = 206
        made.fields["content-range"] = f"bytes {made.start}-{made.start + made.count - 1}/{version.size}"
        return made
    except BaseException:
        made.close()
        raise


def _type(name: bytes) -> str:
    """The media type that a name stands for; what is packed is bytes."""
    kind, packed = _TYPES.guess_type(name.decode("utf-8", "replace"))
    return kind if kind and not packed else "application/octet-stream"


def _listing(tree: DocRoot, fd: int, names: list[bytes]) -> Response:
    """A page of links."""
    found, whole = tree.names_in(fd, MOST_NAMES)
    above = [b"../"] if len(names) > 1 else []
    links = [f'<li><a href="./{quote_from_bytes(name)}">{_shown(name)}</a>' for name in above + found]
    title = _shown(b"/" + b"/".join(names))
    rest = "" if whole else f"<p>There is more; these are {MOST_NAMES}."
    page = f"<!DOCTYPE html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><ul>{''.join(links)}</ul>{rest}\n"
    text = page.encode()
    return Response(200, {"content-type": "text/html; charset=utf-8"}, text, count=len(text))


def _shown(name: bytes) -> str:
    return html.escape(name.decode("utf-8", "replace"))


def _without_range(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if name != "range"}
