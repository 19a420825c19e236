"""Draw the packages of featx and their imports as a graph for Graphviz.

    python docs/draw_packages.py featx | dot -Tsvg -o docs/packages.svg

The first line on standard error counts packages and arrows.
"""

import ast
import sys
from pathlib import Path


def arrows(root: Path) -> set[tuple[str, str]]:
    """Return which package or module of the top level imports which other."""
    found = set()
    for path in root.rglob("*.py"):
        here = path.relative_to(root).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == root.name:
                names = [f"{root.name}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                package, _, there = name.partition(".")
                there = there.partition(".")[0]
                is_here = (root / there).is_dir() or (root / f"{there}.py").is_file()
                if package == root.name and there and is_here and there != here != "__init__":
                    found.add((here, there))
    return found


if __name__ == "__main__":
    graph = arrows(Path(sys.argv[1]))
    packages = {name for arrow in graph for name in arrow}
    print(f"{len(packages)} packages and modules, {len(graph)} arrows", file=sys.stderr)
    print(
        'digraph featx {\n  rankdir=TB; node [shape=box, style=rounded, fontname="sans-serif", fontsize=11];'
    )
    print('  edge [color="#88888888", arrowsize=0.6];')
    for here, there in sorted(graph):
        print(f'  "{here}" -> "{there}";')
    print("}")
