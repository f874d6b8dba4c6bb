"""Which modules are compiled, and how Python finds them.

The modules of a layer that `import mbuf` loads are in one shared object: one for each module would take more time to
load, more memory and more disk space. Python looks for the modules of a package with the finders in
`sys.path_importer_cache`, one for each folder. `install` puts a finder there for each folder with such an object, which
looks into the object first and then into the folder; no other import is affected.

setup.py reads the tables of this file, so it imports nothing of this package.
"""

import os
import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from importlib.util import spec_from_file_location
from types import MappingProxyType, ModuleType

#: The compiled modules of each layer that `import mbuf` loads. They are in one shared object in the layer's folder.
LAYERS = MappingProxyType(
    {
        "vm": (
            "unraisable",
            "commit",
            "ints",
            "buffer_export",
            "arena",
            "pagemap",
            "event",
            "vm",
            "page",
            "sfbuf",
            "scan",
            "probe",
        ),
        "uma": (
            "item",
            "pages",
            "bucket",
            "backend",
            "slab",
            "waitq",
            "claim",
            "budget",
            "keg",
            "cpu",
            "cache",
            "workset",
            "depot",
            "limit",
            "counters",
            "refill",
            "zone",
            "trash",
        ),
        "packet": (
            "control",
            "peer",
            "pkthdr",
            "ext",
            "cluster",
            "external",
            "segment",
            "chain",
            "tag",
            "attach",
            "read",
            "trim",
            "segmentation",
            "append",
            "pullup",
            "splice",
            "plan",
            "format",
            "defrag",
            "nofree",
            "header",
            "source",
            "copy",
            "epg",
            "deferred_free",
            "unmapped",
            "mapped",
            "extpg",
            "pages",
            "mbuf",
            "build",
        ),
        "pool": (
            "packets",
            "zones",
            "validate",
            "extpg",
            "waiting",
            "allocator",
            "chain",
            "bulk",
            "build",
            "pool",
        ),
    }
)

#: The compiled modules that are loaded when a program needs them, each a shared object of its own.
SINGLE = (
    "vm.poison",
    "vm.pagefile",
    "uma.audit",
    "uma.async_waiter",
    "packet.record",
    "packet.queue",
    "packet.watermarks",
    "packet.sockbuf",
    "packet.streambuf",
    "pool.stock",
    "pool.reserve",
    "pool.aio",
    "testing.unchecked",
    "net.udp.recvmmsg",
    "net.udp.sendmmsg",
    "net.udp.receivecounts",
    "net.udp.copies",
    "net.udp.posted",
    "net.udp.receiver",
    "net.udp.sender",
    "net.aio.addresses",
    "net.aio.broadcast",
    "net.aio.connection",
    "net.aio.delivery",
    "net.aio.inbox",
    "net.aio.outbox",
    "net.aio.wakeup",
    "net.capture.pcap",
    "net.port.rules",
    "net.stream.read_sizer",
    "net.stream.send",
    "cli.replay.rxring",
    "cli.replay.clock",
    "cli.replay.consumer",
    "cli.replay.sockbufs",
    "cli.replay.engine",
)

#: All compiled modules.
COMPILED = (
    *(f"mbuf.{layer}.{name}" for layer, names in LAYERS.items() for name in names),
    *(f"mbuf.{name}" for name in SINGLE),
)

#: The name of the shared object in the folder of a layer.
OBJECT = "_compiled"


class LayerFinder(FileFinder):
    """Finds the modules of a layer: the compiled ones in its shared object, the others in its folder."""

    def __init__(self, folder: str, names: tuple[str, ...], path: str) -> None:
        super().__init__(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES), (SourceFileLoader, SOURCE_SUFFIXES))
        self._names = names
        self._object = path

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname.rpartition(".")[2] not in self._names:
            return super().find_spec(fullname, target)
        return spec_from_file_location(fullname, self._object, loader=ExtensionFileLoader(fullname, self._object))


def install(package: str) -> None:
    """Have Python find the compiled modules in the package's folder."""
    for layer, names in LAYERS.items():
        folder = os.path.join(package, layer)
        path = os.path.join(folder, OBJECT + EXTENSION_SUFFIXES[0])
        if os.path.exists(path):
            sys.path_importer_cache[folder] = LayerFinder(folder, names, path)
