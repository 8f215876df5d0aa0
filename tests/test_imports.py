"""The house's arrows point one way, rooms keep to themselves, and files stay small."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "hypnos_bench"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Lower layers may not import higher ones; rooms on one layer may import each other only where listed.
LAYERS = [
    {"errors"},
    {"spec", "registry", "signals", "threads", "processes"},
    {"cohorts", "hypnos", "store", "taskfiles"},
    {"encoders", "heads", "metrics", "stats", "splits", "leakage", "exposure", "provenance", "doctor", "duplicates"},
    {"labelling", "cluster", "embed", "exporting", "scoring", "comparing", "conformance"},
    {"probe", "significance"},
    {"report"},
    {"runner"},
    {"cli", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
# Rooms that may not know each other although their layers would allow it.
FORBIDDEN = {
    "hypnos": {"taskfiles", "cohorts", "store"},
    "cohorts": {"hypnos", "store", "taskfiles"},
    "encoders": {"heads", "metrics", "stats", "taskfiles", "report"},
    "heads": {"cohorts", "store", "encoders", "hypnos"},
    "metrics": {"cohorts", "store", "encoders", "hypnos"},
    "stats": {"cohorts", "store", "encoders", "hypnos"},
    "doctor": {"encoders", "heads", "metrics", "stats", "report", "hypnos", "store", "taskfiles"},
    "scoring": {"cohorts", "encoders", "hypnos", "heads"},
    "comparing": {"cohorts", "encoders", "hypnos", "heads", "store"},
    "report": {"cohorts", "encoders", "heads", "signals", "hypnos", "probe"},
}
# The store keeps embeddings of recordings: it knows these two protocols and nothing else of their rooms.
ALLOWED = {("store", "cohorts"), ("store", "encoders")}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[tuple[str, str]]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module] if node.module != "hypnos_bench" else [f"hypnos_bench.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "hypnos_bench" and len(parts) > 1 and parts[1] in LEVEL:
                found.add((parts[1], name))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_down(path):
    room = room_of(path)
    if room == "__init__":
        return
    assert room in LEVEL, f"{path} is in no layer: place it in LAYERS"
    for other, name in imports_of(path):
        if (room, other) in ALLOWED:
            assert name.endswith(".base"), f"{path} may import only the protocol of {other}, not {name}"
            continue
        assert LEVEL[other] <= LEVEL[room], f"{path} imports {name}, which lies above it"
        assert other not in FORBIDDEN.get(room, set()), f"{room} may not know {other}: {path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_over_600_lines(path):
    assert len(path.read_text("utf-8").splitlines()) <= 600


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room_of(p) in {"heads", "metrics", "stats"}], ids=lambda p: p.name
)
def test_numeric_rooms_touch_no_files_and_print_nothing(path):
    tree = ast.parse(path.read_text("utf-8"))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {
        node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }
    assert not called & {"open", "print"}
    assert not imported & {"logging", "pathlib", "os", "io"}


def test_tasks_folder_holds_no_python():
    assert not list((PACKAGE.parent / "tasks").rglob("*.py"))
