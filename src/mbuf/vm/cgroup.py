"""The control groups of this process: the folders with their files, for version 1 and 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def folders(proc: str, cgroup: str) -> list[Path]:
    """The folders of this process's memory groups, each followed by those of its parent groups."""
    from pathlib import Path

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
    """Where a hierarchy with these controllers is mounted; None if it doesn't control memory."""
    if not controllers:
        # Version 2, which has a folder of its own where version 1 is mounted too.
        unified = root / "unified"
        return unified if unified.is_dir() else root
    return root / "memory" if "memory" in controllers.split(",") else None
