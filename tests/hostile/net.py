"""Calls of `mbuf.net` with user code in their middle: ports, endpoints, streams and broadcasts, over loopback sockets.

A case is as those of the core: `udp.push/STORAGE/HOOK/ACT`. The hook is one of the core's (an object of a packet, a
probe, the garbage collector, a border of a commit), or `callback`: the function that the program has given to the
object. The acts are those of the core, and `net:` acts, on the port or the connection.

What a call gives depends on the sockets, so it isn't compared with other orders. It may return, or raise an error of
mbuf or of the system. Afterwards nothing hangs, nothing is lost, and no descriptor is left open.
"""

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from random import Random
from typing import TYPE_CHECKING, Any

from hostile.hooks import ACTS, AT_LIMIT, OBJECTS, ActError, Trigger, attach, environment_hooks
from hostile.scenario import STORAGE, Scenario
from mbuf import M_PKTHDR, Mbuf, MbufError, Pool, StreamBuffer
from mbuf.net.aio import Broadcast, Datagrams, MbufProtocol, WaitingPort, create_datagram_endpoint
from mbuf.net.aio.streams import StreamProtocol
from mbuf.net.aio.writer import StreamWriter
from mbuf.net.udp.socketport import SocketPort
from mbuf.net.udp.udpport import UdpPort

if TYPE_CHECKING:
    from hostile.run import Case

#: Seconds that a call may wait for what never comes.
WAIT = 0.02
#: Turns of the event loop after a call.
TURNS = 8
#: What a call may raise, and what may be told to the loop's exception handler.
EXPECTED = (MbufError, OSError, ActError, KeyboardInterrupt, asyncio.CancelledError, TimeoutError, EOFError)
#: Also raised for what was closed or changed in the middle.
MISUSE = (RuntimeError, TypeError, AttributeError, ValueError, AssertionError)


class NetScenario(Scenario):
    """A scenario with sockets, an event loop, and what is to be closed in the end."""

    def __init__(self, pool: Pool, storage: str, trigger: Trigger) -> None:
        super().__init__(pool, storage)
        self.trigger = trigger
        self.loop = asyncio.new_event_loop()
        self.told: list[BaseException] = []
        self.loop.set_exception_handler(self._tell)
        self.ends: list[Callable[[], object]] = []
        #: The port, transport or writer that a `net:` act is about.
        self.subject: Any = None
        self.sockets: list[socket.socket] = []

    def _tell(self, _loop: object, context: dict[str, Any]) -> None:
        if "exception" in context:
            self.told.append(context["exception"])

    def call_back(self, *_: object) -> None:
        """The function of the program."""
        self.trigger()

    def udp(self, connected: bool = True) -> tuple[socket.socket, socket.socket]:
        """Two UDP sockets."""
        pair = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
        self.sockets += pair
        for sock in pair:
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        near, far = pair
        if connected:
            near.connect(far.getsockname())
        far.connect(near.getsockname())
        return near, far

    def stream(self) -> tuple[socket.socket, socket.socket]:
        """A pair of stream sockets; the first is for a transport, which alone may close it."""
        near, far = socket.socketpair()
        self.sockets.append(far)
        far.setblocking(False)
        return near, far

    def make(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine that makes an object."""
        return self.loop.run_until_complete(work)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine for a short time."""
        return self.loop.run_until_complete(asyncio.wait_for(work, WAIT))

    def turn(self) -> None:
        """Let the loop run its callbacks. What ends the program is told, and it goes on."""
        for _ in range(TURNS):
            try:
                self.loop.run_until_complete(asyncio.sleep(0))
            except BaseException as error:
                self.told.append(error)

    def packets(self) -> list[Mbuf]:
        """The packets of the scenario, to be sent."""
        return [m for m in (self.m, self.n) if m.flags & M_PKTHDR] + [self.pool.getcl().append(b"x" * 150)]

    def close_net(self) -> str:
        """Close everything of the network; what is wrong."""
        for end in self.ends:
            with contextlib.suppress(*EXPECTED, *MISUSE):
                end()
        self.turn()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.turn()
        with contextlib.suppress(BaseException):
            self.loop.close()
        for sock in self.sockets:
            sock.close()
        self.ends.clear()
        self.subject = None
        wrong = [error for error in self.told if not isinstance(error, EXPECTED + MISUSE)]
        self.told.clear()
        return f"told: {wrong[0]!r}" if wrong else ""


# Calls. Each makes what it needs, and returns the call itself.

Call = Callable[[], Any]


def _port(s: NetScenario, kind: Any, connected: bool = True, **options: Any) -> tuple[Any, socket.socket]:
    near, far = s.udp(connected)
    port = s.subject = kind(s.pool, near, on_error=s.call_back, **options)
    s.ends.append(port.close)
    return port, far


def _arrive(far: socket.socket) -> None:
    for n in range(3):
        far.send(b"%d" % n * 700)


def _push(s: NetScenario, kind: Any = UdpPort) -> Call:
    port, far = _port(s, kind, connected=False)
    packets = s.packets()
    for n, m in enumerate(packets):
        # The last one is refused, and the function is called.
        m.peer = far.getsockname() if n < len(packets) - 1 else ("127.0.0.1", 0)
    s.made.append(packets)
    return lambda: port.push(packets)


def _pull(s: NetScenario, kind: Any = UdpPort, name: str = "pull", **options: Any) -> Call:
    port, far = _port(s, kind, **options)
    _arrive(far)
    return lambda: getattr(port, name)(10)


def _after_pull(s: NetScenario, name: str, kind: Any = UdpPort) -> Call:
    port, far = _port(s, kind)
    _arrive(far)
    s.made.append(port.pull(1))
    return lambda: getattr(port, name)()


def _waiting(s: NetScenario, send: bool) -> Call:
    port, far = _port(s, UdpPort)

    async def make() -> WaitingPort:
        return WaitingPort(s.pool, port)

    waiting = s.make(make())
    s.ends.append(waiting.close)
    if send:
        packets = s.packets()
        s.made.append(packets)
        return lambda: s.run(waiting.send_batch(packets))
    _arrive(far)
    return lambda: s.run(waiting.recv())


class _Endpoint(asyncio.DatagramProtocol):
    def __init__(self, s: NetScenario) -> None:
        self.s = s

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.s.call_back()

    def error_received(self, exc: Exception) -> None:
        self.s.call_back()

    def connection_lost(self, exc: Exception | None) -> None:
        self.s.call_back()


class _MbufEndpoint(_Endpoint):
    def mbuf_received(self, m: Mbuf, addr: Any) -> None:
        self.s.made.append(m)
        self.s.call_back()


def _endpoint(s: NetScenario, kind: type[_Endpoint] = _Endpoint) -> tuple[Any, socket.socket]:
    near, far = s.udp(connected=False)
    transport, _ = s.make(create_datagram_endpoint(s.pool, lambda: kind(s), sock=near))
    s.subject = transport
    s.ends.append(transport.abort)
    return transport, far


def _sendto(s: NetScenario) -> Call:
    transport, far = _endpoint(s)
    packets, there = s.packets(), far.getsockname()
    s.made.append(packets)

    def call() -> None:
        for m in packets:
            transport.sendto(m, there)
            transport.sendto(b"bytes", ("127.0.0.1", 0))
        s.turn()

    return call


def _receive(s: NetScenario, kind: type[_Endpoint]) -> Call:
    _, far = _endpoint(s, kind)
    _arrive(far)
    return s.turn


def _end(s: NetScenario, name: str) -> Call:
    transport, far = _endpoint(s)
    transport.sendto(b"1", far.getsockname())
    transport.sendto(s.packets()[-1], far.getsockname())
    _arrive(far)

    def call() -> None:
        getattr(transport, name)()
        s.turn()

    return call


def _datagrams(s: NetScenario, act: str) -> Call:
    port, far = _port(s, UdpPort)

    def received(m: Mbuf) -> None:
        s.made.append(m)
        s.call_back()

    async def make() -> Datagrams:
        return Datagrams(s.pool, port, received, s.call_back)

    endpoint = s.subject = s.make(make())
    s.ends.insert(0, endpoint.abort)
    packets = s.packets()
    s.made.append(packets)
    _arrive(far)

    def call() -> None:
        if act == "send":
            endpoint.send_batch(packets)
        elif act != "receive":
            getattr(endpoint, act)()
        s.turn()

    return call


class _Received(MbufProtocol):
    def __init__(self, s: NetScenario) -> None:
        super().__init__(s.pool)
        self.s = s
        self.buffer = StreamBuffer()
        self.write_buffer.pause = self.write_buffer.resume = s.call_back

    def mbuf_received(self, m: Mbuf) -> None:
        self.buffer.append(m)
        self.s.call_back()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.buffer.clear()
        self.s.call_back()


def _connection(s: NetScenario, protocol: Callable[[], Any]) -> tuple[Any, socket.socket]:
    near, far = s.stream()
    _, made = s.make(s.loop.create_connection(protocol, sock=near))
    s.ends.append(made.abort)
    s.subject = made
    return made, far


def _protocol(s: NetScenario, act: str) -> Call:
    made, far = _connection(s, lambda: _Received(s))
    if act == "receive":
        far.send(b"r" * 5000)
        return s.turn

    def call() -> None:
        made.write(s.m)
        made.write(s.pool.frombytes(bytes(1 << 19)))
        getattr(made, act)()
        s.turn()

    return call


def _reader(s: NetScenario, name: str, *args: Any) -> Call:
    made, far = _connection(s, lambda: StreamProtocol(s.pool, 2000))
    far.send(b"line\n" * 500)
    reader = made.reader

    def call() -> Any:
        return s.run(getattr(reader, name)(*args))

    return call


def _writer(s: NetScenario, name: str) -> Call:
    made, _ = _connection(s, lambda: StreamProtocol(s.pool))
    made.write_buffer.pause = made.write_buffer.resume = s.call_back

    async def make() -> StreamWriter:
        return StreamWriter(made, made.reader)

    writer = s.make(make())
    s.ends.append(writer.close)

    async def call() -> None:
        writer.write(b"bytes")
        writer.write(s.m)
        writer.write(bytes(1 << 19))
        writer.write(s.n)
        if name == "drain":
            await writer.drain()
        else:
            getattr(writer, name)()

    return lambda: s.run(call())


def _broadcast(s: NetScenario, slow: str) -> Call:
    group = Broadcast(slow)
    for size in (0, 1 << 19, 1 << 20):
        made, _ = _connection(s, lambda: _Received(s))
        made.write(s.pool.frombytes(bytes(size)))
        group.add(made)

    def call() -> Any:
        return [group.send(m) for m in s.packets()]

    return call


CALLS: dict[str, Callable[[NetScenario], Call]] = {
    "udp.push": _push,
    "udp.pull": _pull,
    "udp.pull_writable": lambda s: _pull(s, writable=True, local=True, tos=True, timestamps=True),
    "udp.pull_bytes": lambda s: _pull(s, name="pull_bytes"),
    "udp.release_buffers": lambda s: _after_pull(s, "release_buffers"),
    "udp.close": lambda s: _after_pull(s, "close"),
    "udp.stat": lambda s: _after_pull(s, "stat"),
    "socketport.push": lambda s: _push(s, SocketPort),
    "socketport.pull": lambda s: _pull(s, SocketPort),
    "socketport.close": lambda s: _after_pull(s, "close", SocketPort),
    "waiting.recv": lambda s: _waiting(s, send=False),
    "waiting.send_batch": lambda s: _waiting(s, send=True),
    "endpoint.sendto": _sendto,
    "endpoint.datagram_received": lambda s: _receive(s, _Endpoint),
    "endpoint.mbuf_received": lambda s: _receive(s, _MbufEndpoint),
    "endpoint.close": lambda s: _end(s, "close"),
    "endpoint.abort": lambda s: _end(s, "abort"),
    "datagrams.send_batch": lambda s: _datagrams(s, "send"),
    "datagrams.received": lambda s: _datagrams(s, "receive"),
    "datagrams.close": lambda s: _datagrams(s, "close"),
    "datagrams.abort": lambda s: _datagrams(s, "abort"),
    "protocol.mbuf_received": lambda s: _protocol(s, "receive"),
    "protocol.close": lambda s: _protocol(s, "close"),
    "protocol.abort": lambda s: _protocol(s, "abort"),
    "reader.readline": lambda s: _reader(s, "readline"),
    "reader.readexactly": lambda s: _reader(s, "readexactly", 2000),
    "reader.readuntil": lambda s: _reader(s, "readuntil", (b"\n", b"e\n")),
    "reader.read_mbuf": lambda s: _reader(s, "read_mbuf", 700),
    "reader.readline_mbuf": lambda s: _reader(s, "readline_mbuf"),
    "writer.drain": lambda s: _writer(s, "drain"),
    "writer.close": lambda s: _writer(s, "close"),
    "broadcast.drop": lambda s: _broadcast(s, "drop"),
    "broadcast.abort": lambda s: _broadcast(s, "abort"),
}


def _close_sockets(s: NetScenario) -> None:
    for sock in s.sockets:
        sock.close()
    # Their numbers belong to other files now.
    s.sockets += socket.socketpair()
    s.sockets += socket.socketpair()


NET_ACTS: dict[str, Callable[[NetScenario], object]] = {
    "net:close": lambda s: s.subject.close(),
    "net:abort": lambda s: s.subject.abort(),
    "net:close_port": lambda s: s.subject.port.close(),
    "net:close_sockets": _close_sockets,
    "net:pull": lambda s: s.made.append(s.subject.pull(10)),
    "net:push": lambda s: s.subject.push([s.pool.wrap(b"pushed")]),
    "net:send": lambda s: s.subject.send(s.pool.wrap(b"sent")),
    "net:sendto": lambda s: s.subject.sendto(s.pool.wrap(b"sent"), ("127.0.0.1", 9)),
    "net:write": lambda s: s.subject.write(s.pool.wrap(b"written")),
    "net:pause": lambda s: s.subject.pause_reading(),
    "net:release": lambda s: s.subject.release_buffers(),
}


def net_hooks() -> tuple[str, ...]:
    """The hooks of all calls."""
    return ("callback", *(f"m.{name}" for name in OBJECTS), *environment_hooks())


def net_cases(seed: int) -> Iterator[tuple[str, str, str, str]]:
    """Endless random cases, the same for the same seed: call, storage, hook and act; more often callbacks."""
    random = Random(seed)
    hooks, acts = net_hooks(), (*ACTS, *NET_ACTS)
    while True:
        hook = "callback" if random.random() < 0.3 else random.choice(hooks)
        act = random.choice(list(NET_ACTS)) if random.random() < 0.4 else random.choice(acts)
        yield random.choice(list(CALLS)), random.choice(list(STORAGE)), hook, act


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _call(case: "Case", s: NetScenario, trigger: Trigger) -> str:
    """Make the objects of a case, and call; what is wrong."""
    act: Any = NET_ACTS.get(case.act) or ACTS[case.act]
    kind = case.hook.rstrip("0123456789")
    where, _, thing = case.hook.partition(".")
    reachable = where != "m" or OBJECTS[thing](s, trigger, s.m)
    call = CALLS[case.member](s)
    s.again = lambda: s.made.append(call())
    trigger.act = lambda: act(s)
    off: Callable[[], None] | None = None
    if case.hook in AT_LIMIT:
        s.fill()
    if kind in (*AT_LIMIT, "probe", "gc", "border"):
        trigger.skip = int(case.hook[len(kind) :] or 0)
        off = attach(case.hook, trigger, s.pool)
    trigger.enabled = reachable
    try:
        s.made.append(call())
    except BaseException as error:
        if not isinstance(error, EXPECTED + MISUSE):
            return f"error: {error!r}"
        if isinstance(error, MISUSE) and not trigger.fired:
            return f"misuse: {error!r}"
    finally:
        trigger.enabled = False
        if off is not None:
            off()
    return ""


def evaluate_net(case: "Case", pool: Pool) -> tuple[bool, str]:
    """Run a case: whether its hook was reached, and what is wrong."""
    before = _descriptors()
    trigger = Trigger()
    s = NetScenario(pool, case.storage, trigger)
    wrong = ""
    with contextlib.suppress(MbufError, AttributeError):
        wrong = _call(case, s, trigger)
    s.again = None
    trigger.act = None
    told = s.close_net()
    wrong = wrong or told
    lost = s.end()
    after = _descriptors()
    if not lost and after > before:
        # Sockets in reference cycles.
        gc.collect()
        after = _descriptors()
    if not lost and after > before:
        lost = f"descriptors: {after - before} are left open"
    return trigger.fired > 0, wrong or lost
