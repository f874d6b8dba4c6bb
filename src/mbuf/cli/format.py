"""Numbers in words, as people read them, and words that a terminal takes for nothing else.

Sees nothing but numbers and texts.
"""

from mbuf.cli.replay.clock import SECOND
from mbuf.cli.replay.highwater import Moment

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


def plain(text: str) -> str:
    """The text, with escapes for what can't be shown, or would move a terminal's cursor, or change its colours."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    # A byte of a name that is no UTF-8, as Python hides it.
    byte = ord(char) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else char.encode("unicode_escape").decode("ascii")


def share(part: int, whole: int) -> float:
    """Per cent."""
    return 100 * part / whole
