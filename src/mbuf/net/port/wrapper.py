"""A port around another port: what it doesn't do itself, the inner port does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.net.port.port import Port

if TYPE_CHECKING:
    from collections.abc import Mapping


class PortWrapper(Port):
    """A port around `port`, which it closes when it is closed. A subclass defines `pull`, `push` and `stat`."""

    port: Port

    @property
    def features(self) -> Mapping[str, str]:  # type: ignore[override]
        return self.port.features

    @property
    def ready(self) -> int:
        return self.port.ready

    def release_buffers(self) -> None:
        self.port.release_buffers()

    def fileno(self) -> int:
        return self.port.fileno()

    def close(self) -> None:
        self.port.close()
