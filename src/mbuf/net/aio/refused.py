"""What an endpoint does with packets that its port refuses as a mistake, which asyncio's transports send or report.

The port sends the packets before one that is a mistake: too long, freed meanwhile, of another family. That one is sent
alone, by the socket itself, and then the port gets the rest.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mbuf.errors import Freed, MbufError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.net.aio.outbox import Outbox
    from mbuf.net.udp.socketport import SocketPort
    from mbuf.net.udp.udpport import UdpPort
    from mbuf.packet.mbuf import Mbuf


def send_refused(
    port: UdpPort | SocketPort,
    outbox: Outbox,
    error: Exception,
    send: Callable[[Mbuf], object],
    report: Callable[[Exception], object],
    error_received: Callable[[OSError], object],
) -> Exception | None:
    """Send the packets of an outbox after `port.push` has raised an error; what the socket doesn't accept stays.

    `send(m)` sends one packet by the socket. `report` is called with what is the program's mistake, `error_received`
    with what the system says. Returns an error after which nothing can be sent, or None.
    """
    while isinstance(error, MbufError) and not port.closed:
        if (isinstance(error, Freed) and outbox.drop_freed()) or not outbox.packets:
            # The program has freed a packet that it had given to `sendto`, or has given it twice.
            report(error)
        elif not _send_first(outbox, error, send, report, error_received):
            return None
        try:
            port.push(outbox.packets)
            return None
        except (OSError, MbufError) as another:
            error = another
    return error


def _send_first(
    outbox: Outbox,
    refused: MbufError,
    send: Callable[[Mbuf], object],
    report: Callable[[Exception], object],
    error_received: Callable[[OSError], object],
) -> bool:
    """Send the first packet, for the error that asyncio would tell; False if the socket is full, and it stays."""
    m = outbox.packets[0]
    failure: Exception | None = None
    try:
        send(m)
    except BlockingIOError:
        return False
    except OSError as error:
        failure = error
    except (MbufError, TypeError):
        # A part of it was freed, or isn't ready; or its peer is of another family.
        failure = refused
    # First: the program may do anything when it is told.
    del outbox.packets[0]
    with suppress(Freed):
        m.freem()
    if failure is not None:
        outbox.dropped += 1
        if isinstance(failure, OSError):
            error_received(failure)
        else:
            report(failure)
    return True
