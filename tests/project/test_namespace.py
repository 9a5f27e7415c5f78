from __future__ import annotations

from pathlib import Path
from typing import Any


def test_no_root_has_an_init_at_the_top_of_the_namespace(roots: list[Path]) -> None:
    stray = [path for root in roots for path in (root / "steersman").glob("__init__.py*")]
    assert not stray, f"{stray}: breaks the parts of steersman in all other roots at run time; remove it"


def portions(roots: list[Path]) -> set[Path]:
    return {path.parent for root in roots for path in (root / "steersman").glob("*/*.py")}


def test_every_portion_says_that_it_is_typed(roots: list[Path]) -> None:
    assert len(portions(roots)) >= 8
    assert not [str(portion) for portion in portions(roots) if not (portion / "py.typed").is_file()]


def test_every_portion_is_held_by_the_import_contracts(roots: list[Path], pyproject: dict[str, Any]) -> None:
    names = {f"steersman.{portion.name}" for portion in portions(roots)}
    assert names == set(pyproject["tool"]["importlinter"]["root_packages"])


def test_the_wheel_takes_every_root(roots: list[Path], pyproject: dict[str, Any]) -> None:
    build = pyproject["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["packages"] == [f"{root.name}/steersman" for root in roots]
    assert {root.parent for root in roots} == {path.parent.parent for path in roots[0].parent.glob("*/steersman")}


def test_tests_are_no_packages(root: Path) -> None:
    assert not list((root / "tests").rglob("__init__.py")), (
        "pytest's importlib mode needs none, and mypy finds modules twice"
    )
