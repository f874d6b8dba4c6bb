"""What pyproject.toml can't say: which modules are compiled, and how.

MBUF_PURE=1 builds none: the same sources then run as they stand (the pure leg). MBUF_CFLAGS replaces the flags of
the C compiler: "-O2 -DMBUF_HOOKS=1" makes the build for tests/hostile.
A failed build fails; it never falls back.
"""

import ast
import importlib
import os
import sys
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
    "mbuf.packet.control",
    "mbuf.packet.peer",
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

#: Those that aren't called for each mbuf. They are compiled for size: 25 % smaller, in half the time.
COLD = {
    "mbuf.vm.interpreter",
    "mbuf.vm.unraisable",
    "mbuf.vm.arena",
    "mbuf.vm.pagemap",
    "mbuf.vm.event",
    "mbuf.vm.vm",
    "mbuf.vm.poison",
    "mbuf.vm.sfbuf",
    "mbuf.vm.pagefile",
    "mbuf.vm.probe",
    "mbuf.uma.waitq",
    "mbuf.uma.workset",
    "mbuf.uma.audit",
    "mbuf.uma.async_waiter",
    "mbuf.uma.trash",
    "mbuf.packet.plan",
    "mbuf.packet.defrag",
    "mbuf.packet.nofree",
    "mbuf.packet.epg",
    "mbuf.packet.mapped",
    "mbuf.packet.extpg",
    "mbuf.packet.pages",
    "mbuf.packet.record",
    "mbuf.pool.packets",
    "mbuf.pool.zones",
    "mbuf.pool.extpg",
    "mbuf.pool.stock",
    "mbuf.pool.reserve",
    "mbuf.pool.aio",
    "mbuf.testing",
}

#: What the compiler would add to each module (parsing of arguments, reports of errors) is in a module of its own.
SHARED = "mbuf" + "._cyutility"

MADE = "build/cython"


def outdated():
    """True when a declaration or this file is newer than what was made: the compiler doesn't look at those."""
    made = [path.stat().st_mtime for path in Path(MADE).rglob("*.c")]
    read = [path.stat().st_mtime for path in [Path(__file__), *Path("src").rglob("*.pxd")]]
    return bool(made) and max(read) > min(made)


def write_signatures():
    """Make the compiler write signatures that `inspect.signature` and `help` can read.

    They read only literals, so a default has its value there, or `...` if that is no literal. The value comes from
    the same module, uncompiled. A class has the signature of its `__init__`, and a field that Python code can read has
    the `#:` comment before it in the source.
    """
    from Cython.Compiler.AutoDocTransforms import EmbedSignature
    from Cython.Compiler.StringEncoding import EncodedString

    sys.path.insert(0, "src")
    from mbuf.fielddocs import comments

    write, visit = EmbedSignature._fmt_expr, EmbedSignature.visit_DefNode

    def write_value(self, node):
        path = Path(node.pos[0].filename).resolve().relative_to(Path("src").resolve())
        module = ".".join(path.with_suffix("").parts)
        value = repr(eval(write(self, node), vars(importlib.import_module(module))))
        try:
            ast.literal_eval(value)
        except (SyntaxError, ValueError):
            return "..."
        return value

    def visit_function(self, node):
        doc = node.entry.doc
        visit(self, node)
        if hasattr(self.class_node, "entry") and node.name == "__init__" and node.entry.doc != doc:
            scope = self.class_node.entry.type.scope
            arguments = node.entry.doc.split("\n--\n")[0].partition("$self")[2].removeprefix(", ")
            signature = f"{self.class_name}({arguments}"
            scope.doc = EncodedString(self._embed_signature(signature, scope.doc))
        return node

    def visit_property(self, node):
        # The compiler's own classes are in no file.
        path = node.pos[0].filename
        if node.entry.doc is None and self.class_name and path:
            doc = comments(path, self.class_name).get(node.name)
            node.entry.doc = EncodedString(doc) if doc else None
        return node

    EmbedSignature._fmt_expr = write_value
    EmbedSignature.visit_PropertyNode = visit_property
    EmbedSignature.visit_DefNode = visit_function


def extension(name, suffix=".py"):
    """One compiled module, which exports its init function only, and has no other symbols."""
    from setuptools import Extension

    flags = ["-Os" if name in COLD or name == SHARED else "-O3", "-g0", "-fvisibility=hidden"]
    link_flags = ["-s", "-Wl,-O1,-z,noseparate-code"]
    if given := os.environ.get("MBUF_CFLAGS"):
        flags, link_flags = given.split(), []
    return Extension(
        name, [f"src/{name.replace('.', '/')}{suffix}"], extra_compile_args=flags, extra_link_args=link_flags
    )


def extensions():
    """The compiled modules, or none for the pure leg."""
    if os.environ.get("MBUF_PURE") == "1":
        return []
    from Cython.Build import cythonize

    write_signatures()
    return cythonize(
        [*map(extension, COMPILED), extension(SHARED, ".c")],
        build_dir=MADE,
        force=outdated(),
        nthreads=os.cpu_count() or 1,
        shared_utility_qualified_name=SHARED,
        compiler_directives={
            "language_level": 3,
            "annotation_typing": False,
            "auto_pickle": False,
            "binding": False,
            "embedsignature": True,
            "embedsignature.format": "clinic",
        },
    )


setup(ext_modules=extensions(), options={"build_ext": {"parallel": os.cpu_count() or 1}})
