"""The source files of the package, and what each imports: `test_layers` and others check them."""

import ast
import re
import tokenize
from collections.abc import Iterator
from copy import deepcopy
from io import StringIO


class Sources:
    """Source files by path below the package, and the modules of the package that each module imports.

    `runtime_imports` is `imports` without what only a type checker reads.
    """

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files
        self.trees = {path: ast.parse(text, path) for path, text in files.items() if path.endswith(".py")}
        self.modules = {module_of(path) for path in files}
        self.imports: dict[str, set[str]] = {module: set() for module in self.modules}
        self.runtime_imports: dict[str, set[str]] = {module: set() for module in self.modules}
        for path, text in files.items():
            tree = self.trees.get(path)
            for base, names in python_imports(tree) if tree else cython_imports(text):
                self.imports[module_of(path)] |= self._resolve(path, base, names)
            for base, names in (
                python_imports(WithoutTypeChecking().visit(deepcopy(tree))) if tree else cython_imports(text)
            ):
                self.runtime_imports[module_of(path)] |= self._resolve(path, base, names)

    def _resolve(self, path: str, base: str, names: list[str]) -> set[str]:
        """The modules of the package that one import statement of a file imports."""
        if base.startswith("."):
            package = ["mbuf", *path.split("/")[:-1]]
            up = len(base) - len(base.lstrip("."))
            base = ".".join([*package[: len(package) - up + 1], *filter(None, [base.lstrip(".")])])
        base = base.removeprefix("cython.cimports.")
        if not within(base, "mbuf"):
            return set()
        base = base.removeprefix("mbuf").removeprefix(".")
        below = {f"{base}.{name}".removeprefix(".") for name in names} & self.modules
        if not names or len(below) < len(names):
            below.add(base)
        return below - {module_of(path)}

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every pair of a module and a module that it imports."""
        return ((module, target) for module in sorted(self.modules) for target in sorted(self.imports[module]))


def module_of(path: str) -> str:
    return path.rsplit(".", 1)[0].removesuffix("__init__").rstrip("/").replace("/", ".")


def layer_of(module: str) -> str:
    return module.split(".")[0]


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


class WithoutTypeChecking(ast.NodeTransformer):
    """Removes from a tree the statements under `if TYPE_CHECKING`."""

    def visit_If(self, node: ast.If) -> ast.AST:
        if ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = [ast.Pass()]
        return self.generic_visit(node)


def python_imports(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """(module, names) of every import of a .py, also of those in functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [alias.name for alias in node.names]


def cython_imports(text: str) -> Iterator[tuple[str, list[str]]]:
    """(module, names) of every import and cimport of a .pxd."""
    text = re.sub(r"\(([^)]*)\)", lambda names: names[1].replace("\n", " "), strip_text(text))
    for base, names in re.findall(r"^\s*from\s+([\w.]+)\s+c?import\s+(.+)$", text, re.MULTILINE):
        yield base, [name.split()[0] for name in names.split(",") if name.strip()]
    for names in re.findall(r"^\s*c?import\s+(.+)$", text, re.MULTILINE):
        yield from ((name.split()[0], []) for name in names.split(","))


def strip_text(text: str) -> str:
    """A .pxd without its strings and comments. Python can't parse a .pxd, because of its `except?`."""
    return re.sub(r'""".*?"""|"[^"\n]*"|#[^\n]*', "", text, flags=re.DOTALL)


def identifiers(path: str, text: str) -> set[str]:
    """The identifiers of a file: strings and comments are left out."""
    if path.endswith(".pxd"):
        return set(re.findall(r"\w+", strip_text(text)))
    tokens = tokenize.generate_tokens(StringIO(text).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}
