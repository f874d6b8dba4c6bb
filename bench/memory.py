"""Memory of a process, as Linux counts it."""

from pathlib import Path


def status_kib(field: str, pid: int | str = "self") -> int:
    """A field of /proc/PID/status in KiB: VmRSS is resident memory, VmHWM its maximum."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
