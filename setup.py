"""What pyproject.toml can't say: how the modules in src/mbuf/objects.py are compiled.

MBUF_PURE=1 builds none: the same sources then run as they stand (the pure leg). MBUF_CFLAGS replaces the flags of
the C compiler: "-O2 -DMBUF_HOOKS=1" makes the build for tests/hostile.
A failed build fails; it never falls back.
"""

import ast
import importlib
import os
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

# The package itself isn't imported for these tables.
TABLES = runpy.run_path("src/mbuf/objects.py")
LAYERS, OBJECT = TABLES["LAYERS"], TABLES["OBJECT"]

#: Those that aren't called for each mbuf. They are compiled for size: 25 % smaller, in half the time.
COLD = {
    "vm.unraisable",
    "vm.arena",
    "vm.pagemap",
    "vm.event",
    "vm.vm",
    "vm.poison",
    "vm.sfbuf",
    "vm.pagefile",
    "vm.probe",
    "uma.waitq",
    "uma.claim",
    "uma.budget",
    "uma.workset",
    "uma.audit",
    "uma.async_waiter",
    "uma.trash",
    "packet.plan",
    "packet.defrag",
    "packet.nofree",
    "packet.epg",
    "packet.unmapped",
    "packet.mapped",
    "packet.extpg",
    "packet.pages",
    "packet.control",
    "packet.peer",
    "packet.tag",
    "packet.record",
    "pool.packets",
    "pool.zones",
    "pool.waiting",
    "pool.extpg",
    "pool.stock",
    "pool.reserve",
    "pool.aio",
    "testing.unchecked",
    "_cyutility",
}

#: What the compiler would add to each module (parsing of arguments, reports of errors) is in a module of its own.
SHARED = "mbuf._cyutility"

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


def modules():
    """Every compiled module, and the shared one, as an extension of its own."""
    made = [Extension(name, [f"src/{name.replace('.', '/')}.py"]) for name in TABLES["COMPILED"]]
    return [*made, Extension(SHARED, [f"src/{SHARED.replace('.', '/')}.c"])]


def shared_object(name, parts):
    """The shared object of some modules. It exports their init functions only, and has no other symbols."""
    given = os.environ.get("MBUF_CFLAGS")
    return Extension(
        name,
        [part.sources[0] for part in parts],
        depends=sorted({path for part in parts for path in part.depends}),
        extra_compile_args=given.split() if given else ["-g0", "-fvisibility=hidden"],
        extra_link_args=[] if given else ["-s", "-Wl,-O1,-z,noseparate-code"],
    )


def shared_objects():
    """One for each layer, and one for each other module. None for the pure leg."""
    if os.environ.get("MBUF_PURE") == "1":
        return []
    from Cython.Build import cythonize

    write_signatures()
    made = cythonize(
        modules(),
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
    parts = {}
    for module in made:
        package, _, name = module.name.rpartition(".")
        inside = name in LAYERS.get(package.removeprefix("mbuf."), ())
        parts.setdefault(f"{package}.{OBJECT}" if inside else module.name, []).append(module)
    return [shared_object(name, modules) for name, modules in parts.items()]


class BuildObjects(build_ext):
    """Compiles each C file by itself, on all cores, and only if it or this file has changed since."""

    def build_extensions(self):
        compile_all = self.compiler.compile
        workers = ThreadPoolExecutor(os.cpu_count())

        def compile_one(source, output_dir, extra_postargs, **options):
            (made,) = self.compiler.object_filenames([source], output_dir=output_dir)
            if newer_group([source, __file__], made):
                name = source.removeprefix(f"{MADE}/src/mbuf/").removesuffix(".c").replace("/", ".")
                flags = ["-Os" if name in COLD else "-O3", *extra_postargs]
                compile_all([source], output_dir, extra_postargs=flags, **options)
            return made

        def compile_each(sources, **options):
            return list(workers.map(lambda source: compile_one(source, **options), sources))

        self.compiler.compile = compile_each
        self.parallel = len(self.extensions)
        super().build_extensions()


setup(ext_modules=shared_objects(), cmdclass={"build_ext": BuildObjects})
