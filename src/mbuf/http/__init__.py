"""A static file server over HTTP/1.1: an application of the library, which sends files as chains of their pages.

`FileServer` serves the files below a folder, `Totals` are its counters, and an `AccessLogEntry` describes one request.
The modules: `server` (connections, and sending), `connection` (requests, parsed by h11), `response` (status, header
fields and content), `conditional` (preconditions and ranges), `docroot` (files by request target).

Needs the package h11: `pip install mbuf[http]`.
"""

from importlib.util import find_spec

if find_spec("h11") is None:
    raise ModuleNotFoundError("mbuf.http needs the package h11: pip install mbuf[http]", name="h11")

from mbuf.http.server import AccessLogEntry, FileServer, Totals

__all__ = ["AccessLogEntry", "FileServer", "Totals"]
