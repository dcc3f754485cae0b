"""What the list of compiled modules in pyproject.toml has to keep. tests/compiled.py tries out what comes of it."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import tomllib
from pathlib import Path

import remora.sidecar

ROOT = Path(__file__).parents[2]


def compiled() -> set[str]:
    """Names of the modules that are compiled."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hook = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    patterns = [pattern.removesuffix(".py").replace("/", ".") for pattern in hook["modules"]]
    names = [module.name for module in pkgutil.walk_packages(remora.sidecar.__path__, "remora.sidecar.")]
    return {name for name in names for pattern in patterns if _matches(name, pattern)}


def _matches(name: str, pattern: str) -> bool:
    package, _, last = pattern.rpartition(".")
    return name.rpartition(".")[0] == package and Path(name.rpartition(".")[2]).match(last)


def test_no_class_that_is_interpreted_inherits_from_one_that_is_compiled() -> None:
    """mypyc calls methods of such a class past what the subclass overrides."""
    for module in pkgutil.walk_packages(remora.sidecar.__path__, "remora.sidecar."):
        importlib.import_module(module.name)
    names = compiled()
    assert "remora.sidecar.wire.http1.server" in names
    classes = {
        value
        for name in names
        for value in vars(sys.modules[name]).values()
        if isinstance(value, type) and value.__module__ == name
    }
    wrong = [
        f"{heir.__module__}.{heir.__qualname__} inherits from {cls.__module__}.{cls.__qualname__}"
        for cls in classes
        if not getattr(cls, "_is_protocol", False)
        for heir in cls.__subclasses__()
        if heir.__module__.startswith("remora.") and heir.__module__ not in names
    ]
    assert wrong == []
