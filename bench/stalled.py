"""Memory of a relay with a thousand connections whose clients send without end, while the other side reads nothing.

`mbuf relay` is compared with a relay of asyncio streams that awaits `drain`. Measured is the memory of the relay's
process above that before the first connection, without the kernel's socket buffers.
"""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from memory import status_kib

STALLED = 1000
CHUNK = bytes(1 << 18)

STREAMS = """
import asyncio, sys
async def pump(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()
async def pair(reader, writer):
    other = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    await asyncio.gather(pump(reader, other[1]), pump(other[0], writer))
async def main():
    server = await asyncio.start_server(pair, "127.0.0.1", 0, backlog=4096)
    print("relaying", f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def stall(command: list[str], server: socket.socket) -> float:
    """MiB that a relay takes when all its connections are stalled."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[1].rpartition(":")[2])
        before = status_kib("VmRSS", process.pid)
        mine, theirs = [], []
        for _ in range(STALLED):
            sock = socket.create_connection(("127.0.0.1", port))
            theirs.append(server.accept()[0])
            sock.setblocking(False)
            mine.append(sock)
        sent, quiet = 1, 0
        while quiet < 4:
            sent = 0
            for sock in mine:
                with suppress(BlockingIOError):
                    sent += sock.send(CHUNK)
            quiet = 0 if sent else quiet + 1
            time.sleep(0.25)
        grown = (status_kib("VmRSS", process.pid) - before) / 1024
        process.kill()
        for sock in (*mine, *theirs):
            sock.close()
    return grown


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        port = server.getsockname()[1]
        mbuf = str(Path(sys.executable).with_name("mbuf"))
        relays = {
            "asyncio streams": [sys.executable, "-c", STREAMS, str(port)],
            "mbuf relay --memory 16M": [mbuf, "relay", "tcp://127.0.0.1:0", f"tcp://127.0.0.1:{port}"],
        }
        print(f"{STALLED} stalled connections")
        for name, command in relays.items():
            grown = stall(command, server)
            print(f"{name:<26}{grown:8.1f} MiB, {1024 * grown / STALLED:6.1f} KiB a connection", flush=True)


if __name__ == "__main__":
    main()
