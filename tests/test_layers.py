"""The house: arrows go one way, nothing goes in a circle, two names are never twins."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "m3eval"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# What a folder must not know of. Everything may know the ground floor.
FORBIDDEN = {
    "benchmarks": ["encoders", "stores", "retrievers", "metrics", "reports", "config", "stages"],
    "encoders": ["stores", "retrievers", "metrics", "reports", "config", "stages"],
    "stores": ["retrievers", "metrics", "reports", "config", "stages"],
    "retrievers": ["metrics", "reports", "config", "stages", "commands"],
    "metrics": ["encoders", "stores", "reports", "config", "stages", "commands"],
    "reference": ["encoders", "stores", "retrievers", "metrics", "reports", "config", "stages"],
    "reports": ["stores", "encoders", "config", "stages", "commands"],
    "config": ["reports", "stages", "commands"],
    "stages": ["commands"],
    "training": ["commands"],
}
# Its contract with all of these is a folder on disk.
for knows in FORBIDDEN.keys() - {"training"}:
    FORBIDDEN[knows].append("training")
GROUND = [
    "textfiles",
    "errors",
    "kinds",
    "quoting",
    "secrets",
    "oserrors",
    "remote",
    "cached",
    "bucket",
    "buckets",
    "files",
    "seals",
    "locks",
    "records",
    "content",
    "manifests",
    "comparable",
    "layout",
    "reading",
    "lazy",
]


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            # Of a package whose modules alone are asked for, nothing is used.
            names |= parts if parts <= MODULES.keys() else {node.module}
    return {name for name in names if name in MODULES}


ARROWS = {name: imported(path) - {name} for name, path in MODULES.items()}


def folder_of(module: str) -> str:
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_folder_knows_only_what_stands_before_it(folder):
    wrong = [
        f"{module} imports {target}"
        for module, targets in ARROWS.items()
        if folder_of(module) == folder
        for target in targets
        if folder_of(target) in FORBIDDEN[folder]
    ]
    assert not wrong


def test_the_ground_floor_knows_no_folder():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    wrong = [
        f"{module} imports {target}"
        for module in (f"m3eval.{name}" for name in GROUND)
        for target in ARROWS[module]
        if folder_of(target) in folders
    ]
    assert not wrong


def test_nothing_is_imported_in_a_circle():
    """Not within functions, and not for type checkers either."""
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for target in sorted(ARROWS[module]):
                walk(target, (*way, module))
            done.add(module)

    for module in MODULES:
        walk(module, ())


def test_a_class_has_a_name_of_its_own():
    """A reader who meets a name should not have to ask which of two it is."""
    places: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}
