"""A statsd collector: adds up what programs send by UDP, and shows it to Prometheus, with what the pool and port count.

$ python examples/statsd.py 127.0.0.1:8125 127.0.0.1:9102
$ echo -n "orders.placed:1|c" | nc -u -w0 127.0.0.1 8125
$ curl http://127.0.0.1:9102/metrics
"""

import asyncio
import re
import socket
import sys
from collections import defaultdict
from contextlib import closing, suppress

from mbuf import Pool
from mbuf.net import Datagrams, UdpPort
from mbuf.stats import openmetrics

# name:value|type|@sampling rate. A sign before the value of a gauge adds it.
LINE = re.compile(r"([\w./-]{1,200}):([+-]?\d{1,12}(?:\.\d{1,9})?)\|(c|g|ms)(?:\|@(0?\.\d{1,9}|1))?", re.ASCII)
NAMES = {"c": "statsd", "g": "statsd_gauge", "ms": "statsd_seconds", "n": "statsd_timings"}
MOST = 10_000  # names of a kind, so that a sender of random names can't fill the memory


class Statsd:
    def __init__(self, pool):
        self.pool, self.refused = pool, 0
        self.sums = {kind: defaultdict(float) for kind in NAMES}

    def received(self, m):
        with m:
            for line in bytes(m).decode("ascii", "replace").splitlines():
                found = LINE.fullmatch(line)
                self.refused += found is None or not self.add(*found.groups())

    def add(self, name, value, kind, rate):
        sums, weight, signed = self.sums[kind], float(rate or 1), value[0] in "+-"
        if not weight or (signed and kind != "g") or (name not in sums and len(sums) == MOST):
            return False
        if kind == "g":
            sums[name] = float(value) + (sums[name] if signed else 0)
        else:
            sums[name] += float(value) / weight / (1000 if kind == "ms" else 1)
        if kind == "ms":
            self.sums["n"][name] += 1 / weight
        return True

    def text(self):
        yield f"# TYPE statsd_refused_lines counter\nstatsd_refused_lines_total {self.refused}\n"
        for kind, family in NAMES.items():
            yield f"# TYPE {family} {'gauge' if kind == 'g' else 'counter'}\n"
            suffix = "" if kind == "g" else "_total"
            yield from (f'{family}{suffix}{{name="{name}"}} {value}\n' for name, value in self.sums[kind].items())


async def main(udp, http):
    async def answer(reader, writer):
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            request = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            found = request.startswith(b"GET /metrics ")
            body = "".join(statsd.text()) + openmetrics.text(pool.stat(), {"statsd": port.stat()}) if found else ""
            head = f"HTTP/1.1 {'200 OK' if found else '404 Not Found'}\r\nContent-Type: {openmetrics.CONTENT_TYPE}\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
            await writer.drain()
        writer.close()

    with Pool(16 << 20) as pool, socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(udp)
        statsd = Statsd(pool)
        with UdpPort(pool, sock) as port, closing(Datagrams(pool, port, statsd.received)):
            async with await asyncio.start_server(answer, *http) as server:
                print(*sock.getsockname(), *server.sockets[0].getsockname(), flush=True)
                await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(*((host, int(port)) for host, port in (each.rsplit(":", 1) for each in sys.argv[1:]))))
