"""The rooms of the package, as CONTRIBUTING.md draws them."""

import ast
import graphlib
import re
from importlib.util import resolve_name
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "hive_datasets"
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))


def name_of(file):
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


MODULES = {name_of(file).removesuffix(".__init__"): file for file in FILES}


def imports_of(file):
    """The modules of this package that a file imports, anywhere in it."""
    inside = name_of(file).rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), inside)
            inner = [f"{module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else module for name in inner)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


IMPORTS = {
    module: {name for name in imports_of(file) if name.startswith(PACKAGE)} - {module}
    for module, file in MODULES.items()
}


def levels_of_rooms():
    drawing = re.search(r"```\n(cli\n.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]
    rows = drawing.splitlines()
    return {room: len(rows) - number for number, row in enumerate(rows) for room in row.split(", ")}


def test_each_room_uses_only_those_below():
    levels, wrong = levels_of_rooms(), []
    levels["_version"] = 0
    for module, used in IMPORTS.items():
        if module not in (PACKAGE, f"{PACKAGE}._version"):
            room = module.split(".")[1]
            for other in used:
                below = other.partition(f"{PACKAGE}.")[2].split(".")[0]  # "" is the package itself, above all
                if room != below and levels[room] <= levels.get(below, 99):
                    wrong.append(f"{module} uses {other}")
    assert not wrong


def test_the_drawing_shows_every_room_and_the_hall_holds_nothing_else():
    hall = {entry.stem for entry in (ROOT / PACKAGE).iterdir() if entry.suffix in ("", ".py")}
    assert hall - {"__pycache__"} == {*levels_of_rooms(), "__init__", "_version"}


def test_no_modules_use_each_other_in_a_circle():
    graphlib.TopologicalSorter(IMPORTS).prepare()  # raises CycleError


def test_every_package_is_installed():
    listed = re.findall(rf"^    ({PACKAGE}[\w.]*)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    folders = [module for module, file in MODULES.items() if file.name == "__init__.py"]
    assert sorted(listed) == sorted([*folders, f"{PACKAGE}.metadata"])
