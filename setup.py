"""What pyproject.toml can't say: which modules are compiled, and how.

MBUF_PURE=1 builds none: the same sources then run as they stand (the pure leg). MBUF_CFLAGS replaces the flags of
the C compiler: "-O2 -DMBUF_HOOKS=1" makes the build for tests/hostile.
A failed build fails; it never falls back.
"""

import os
from pathlib import Path

from setuptools import setup

COMPILED = [
    "mbuf.vm.interpreter",
    "mbuf.vm.unraisable",
    "mbuf.vm.commit",
    "mbuf.vm.ints",
    "mbuf.vm.buffer_export",
    "mbuf.vm.arena",
    "mbuf.vm.pagemap",
    "mbuf.vm.event",
    "mbuf.vm.vm",
    "mbuf.vm.page",
    "mbuf.vm.poison",
    "mbuf.vm.sfbuf",
    "mbuf.vm.pagefile",
    "mbuf.vm.scan",
    "mbuf.vm.probe",
    "mbuf.uma.item",
    "mbuf.uma.pages",
    "mbuf.uma.bucket",
    "mbuf.uma.backend",
    "mbuf.uma.slab",
    "mbuf.uma.waitq",
    "mbuf.uma.keg",
    "mbuf.uma.cpu",
    "mbuf.uma.cache",
    "mbuf.uma.workset",
    "mbuf.uma.depot",
    "mbuf.uma.limit",
    "mbuf.uma.counters",
    "mbuf.uma.audit",
    "mbuf.uma.refill",
    "mbuf.uma.async_waiter",
    "mbuf.uma.zone",
    "mbuf.uma.trash",
    "mbuf.packet.pkthdr",
    "mbuf.packet.ext",
    "mbuf.packet.cluster",
    "mbuf.packet.external",
    "mbuf.packet.segment",
    "mbuf.packet.chain",
    "mbuf.packet.tag",
    "mbuf.packet.read",
    "mbuf.packet.trim",
    "mbuf.packet.segmentation",
    "mbuf.packet.append",
    "mbuf.packet.pullup",
    "mbuf.packet.splice",
    "mbuf.packet.plan",
    "mbuf.packet.format",
    "mbuf.packet.defrag",
    "mbuf.packet.nofree",
    "mbuf.packet.header",
    "mbuf.packet.source",
    "mbuf.packet.copy",
    "mbuf.packet.epg",
    "mbuf.packet.deferred_free",
    "mbuf.packet.unmapped",
    "mbuf.packet.mapped",
    "mbuf.packet.extpg",
    "mbuf.packet.pages",
    "mbuf.packet.record",
    "mbuf.packet.mbuf",
    "mbuf.packet.build",
    "mbuf.pool.packets",
    "mbuf.pool.zones",
    "mbuf.pool.validate",
    "mbuf.pool.extpg",
    "mbuf.pool.allocator",
    "mbuf.pool.chain",
    "mbuf.pool.bulk",
    "mbuf.pool.build",
    "mbuf.pool.stock",
    "mbuf.pool.reserve",
    "mbuf.pool.aio",
    "mbuf.pool.pool",
    "mbuf.testing",
    "mbuf.packet.queue",
    "mbuf.packet.watermarks",
    "mbuf.packet.sockbuf",
    "mbuf.packet.streambuf",
    "mbuf.net.udp.peer",
    "mbuf.net.udp.recvmmsg",
    "mbuf.net.udp.sendmmsg",
    "mbuf.net.udp.posted",
    "mbuf.net.udp.receiver",
    "mbuf.net.udp.sender",
    "mbuf.net.capture.pcap",
    "mbuf.cli.replay.rxring",
    "mbuf.net.port.rules",
    "mbuf.net.stream.read_sizer",
    "mbuf.cli.replay.clock",
    "mbuf.cli.replay.consumer",
    "mbuf.cli.replay.sockbufs",
    "mbuf.cli.replay.engine",
]


MADE = "build/cython"


def outdated():
    """True when a declaration is newer than what was made of any: the compiler doesn't find all that depends on it."""
    made = [path.stat().st_mtime for path in Path(MADE).rglob("*.c")]
    return bool(made) and max(path.stat().st_mtime for path in Path("src").rglob("*.pxd")) > min(made)


def extensions():
    """The compiled modules, or none for the pure leg."""
    if os.environ.get("MBUF_PURE") == "1":
        return []
    from Cython.Build import cythonize
    from setuptools import Extension

    flags = os.environ.get("MBUF_CFLAGS", "-O3 -g0").split()
    return cythonize(
        [Extension(n, [f"src/{n.replace('.', '/')}.py"], extra_compile_args=flags) for n in COMPILED],
        build_dir=MADE,
        force=outdated(),
        nthreads=os.cpu_count() or 1,
        compiler_directives={
            "language_level": 3,
            "annotation_typing": False,
            "auto_pickle": False,
            "binding": False,
        },
    )


setup(ext_modules=extensions(), options={"build_ext": {"parallel": os.cpu_count() or 1}})
