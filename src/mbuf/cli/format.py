"""Numbers and names as text.

Pure functions: they read and print nothing.
"""

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def plural(number: int, noun: str) -> str:
    """`1 packet`, `2 packets`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(number: int) -> str:
    """`512 bytes`, `1.5 MiB`."""
    if number < 1024:
        return f"{number} bytes"
    step = min((number.bit_length() - 1) // 10, len(_UNITS))
    return f"{number / (1 << 10 * step):.1f} {_UNITS[step - 1]}"


def percent(part: int, whole: int) -> float:
    """How many per cent of the whole the part is."""
    return 100 * part / whole


def printable(text: str) -> str:
    """The text with escapes for all that isn't printable: what comes from outside must not control the terminal."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    # Python decodes a byte of a file name that isn't UTF-8 as a surrogate, U+DC80 to U+DCFF (PEP 383).
    byte = ord(char) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else char.encode("unicode_escape").decode("ascii")
