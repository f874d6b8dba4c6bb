"""Which control groups this process is in.

Knows where Linux keeps their files, of either version, and not what is in them.
"""

from pathlib import Path


def folders(proc: str, cgroup: str) -> list[Path]:
    """The folders of this process's groups for memory, each followed by those of all groups above it."""
    found: list[Path] = []
    try:
        groups = Path(proc, "self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in groups:
        _, controllers, path = line.split(":", 2)
        base = _base(Path(cgroup), controllers)
        if base is not None:
            here = base / path.lstrip("/")
            found += [folder for folder in (here, *here.parents) if folder.is_relative_to(base)]
    return found


def _base(root: Path, controllers: str) -> Path | None:
    """Where a hierarchy with these controllers is mounted, None where it isn't about memory."""
    if not controllers:
        # Beside those of version 1 it has a place of its own.
        unified = root / "unified"
        return unified if unified.is_dir() else root
    return root / "memory" if "memory" in controllers.split(",") else None
