"""Numbers in words, as people read them. Sees nothing but numbers."""

from mbuf.tools.clock import SECOND
from mbuf.tools.highwater import Moment

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def count(number: int, thing: str) -> str:
    """`1 packet`, `2 packets`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def size(number: int) -> str:
    """`512 bytes`, `1.5 MiB`."""
    if number < 1024:
        return f"{number} bytes"
    step = min((number.bit_length() - 1) // 10, len(_UNITS))
    return f"{number / (1 << 10 * step):.1f} {_UNITS[step - 1]}"


def seconds(nanoseconds: int) -> str:
    """`12.345 s`."""
    return f"{nanoseconds / SECOND:.3f} s"


def moment(at: Moment) -> str:
    """When a packet came, as an adverb."""
    if at.packet == 0:
        return "before the first packet"
    return f"at packet {at.packet}, after {seconds(at.when)} of capture time"


def share(part: int, whole: int) -> float:
    """Per cent."""
    return 100 * part / whole
