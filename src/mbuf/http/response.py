"""The response to a request: its status, header fields and content.

Opens files and lists folders; never reads a file, and never sends.
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
from mbuf.http.conditional import Fields, Representation, precondition_status, requested_range
from mbuf.http.docroot import DocRoot, is_target, segments_of, target_of

#: Names in the listing of a folder: bounds the memory for it.
MAX_LISTED = 1000

_STATUS_OF_ERRNO = MappingProxyType(
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
_MEDIA_TYPES = MimeTypes()


@dataclass(slots=True)
class Response:
    """A status, header fields, and `length` bytes of content: all of `text`, or of the file `fd` from `offset` on.

    The descriptor is open until `close`.
    """

    status: int
    fields: dict[str, str] = field(default_factory=dict)
    text: bytes = b""
    fd: int = -1
    offset: int = 0
    length: int = 0

    def close(self) -> None:
        """Close the file. Calling it again has no effect."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def status_response(status: int, **fields: str) -> Response:
    """Return a response whose content is its status in words. A field's name has _ for -."""
    text = f"{status} {HTTPStatus(status).phrase}\n".encode()
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return Response(status, {"content-type": "text/plain"} | named, text, length=len(text))


def respond(docroot: DocRoot, method: bytes, target: bytes, fields: Fields) -> Response:
    """Return the response to a request with these header fields; the caller closes it."""
    if not is_target(target):
        return status_response(400)
    if method not in (b"GET", b"HEAD"):
        return status_response(405, allow="GET, HEAD")
    try:
        segments = segments_of(target)
    except Inval:
        return status_response(400)
    try:
        # Range is defined only for GET. See RFC 9110, 14.2.
        return _respond_with_path(docroot, segments, fields if method == b"GET" else _without_range(fields))
    except OSError as error:
        return status_response(_STATUS_OF_ERRNO.get(error.errno or 0, 500))


def _respond_with_path(docroot: DocRoot, segments: list[bytes], fields: Fields) -> Response:
    ends_with_slash = not segments or segments[-1] == b""
    with docroot.find(segments) as (fd, status):
        if not stat.S_ISDIR(status.st_mode):
            return _respond_with_file(docroot, fd, segments[-1], fields)
        if not ends_with_slash:
            return status_response(301, location=target_of([*segments, b""]))
        try:
            with docroot.find([*segments[:-1], b"index.html"]) as (index, index_status):
                if stat.S_ISREG(index_status.st_mode):
                    return _respond_with_file(docroot, index, b"index.html", fields)
        except FileNotFoundError:
            # The folder is listed instead.
            pass
        return _respond_with_listing(docroot, fd, segments)


def _respond_with_file(docroot: DocRoot, found: int, name: bytes, fields: Fields) -> Response:
    response = Response(200, fd=docroot.open(found))
    try:
        representation = Representation(os.fstat(response.fd))
        response.fields = {"etag": representation.etag, "last-modified": representation.last_modified}
        response.status = precondition_status(fields, representation)
        if response.status != 200:
            response.close()
            return response
        response.fields |= {"content-type": _media_type(name), "accept-ranges": "bytes"}
        wanted = requested_range(fields, representation)
        response.offset, response.length = (0, representation.size) if wanted is None else wanted
        if wanted is None:
            return response
        if not response.length:
            response.close()
            return status_response(416, content_range=f"bytes */{representation.size}")
        response.status = 206
        last = response.offset + response.length - 1
        response.fields["content-range"] = f"bytes {response.offset}-{last}/{representation.size}"
        return response
    except BaseException:
        response.close()
        raise


def _media_type(name: bytes) -> str:
    """The media type by a file's name. A compressed file is sent as it is, so its type is that of any bytes."""
    media_type, encoding = _MEDIA_TYPES.guess_type(name.decode("utf-8", "replace"))
    return media_type if media_type and not encoding else "application/octet-stream"


def _respond_with_listing(docroot: DocRoot, fd: int, segments: list[bytes]) -> Response:
    """Return a page of links to what is in a folder."""
    names, complete = docroot.list_folder(fd, MAX_LISTED)
    parent = [b"../"] if len(segments) > 1 else []
    links = [f'<li><a href="./{quote_from_bytes(name)}">{_escaped(name)}</a>' for name in parent + names]
    title = _escaped(b"/" + b"/".join(segments))
    rest = "" if complete else f"<p>There are more than these {MAX_LISTED} names."
    page = f"<!DOCTYPE html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><ul>{''.join(links)}</ul>{rest}\n"
    text = page.encode()
    return Response(200, {"content-type": "text/html; charset=utf-8"}, text, length=len(text))


def _escaped(name: bytes) -> str:
    return html.escape(name.decode("utf-8", "replace"))


def _without_range(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if name != "range"}
