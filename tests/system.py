"""What Linux says of the test's process."""

import os
from pathlib import Path

from mbuf.const import PAGE_SIZE


def resident_bytes() -> int:
    """Bytes of physical memory that the process has."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE_SIZE


def is_open(fd: int) -> bool:
    """True if the descriptor is open."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
