"""Compiles the hot path into the wheel with mypyc. Off unless HATCH_BUILD_HOOK_ENABLE_CUSTOM=true: `make wheels`.

Which modules: `modules` in pyproject.toml. Their .py files stay in the wheel; Python prefers the compiled ones.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileHook(BuildHookInterface[Any]):
    """Adds a shared library with all of them, a stub of it for each, and the platform's tag."""

    _work: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        self._work = tempfile.TemporaryDirectory(prefix="remora-mypyc-")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"].update(self._compile(Path(self._work.name)))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        if self._work is not None:
            self._work.cleanup()

    def _modules(self) -> list[str]:
        root = Path(self.root)
        found: list[str] = []
        for pattern in self.config["modules"]:
            paths = sorted(root.glob(pattern))
            if not paths:
                raise FileNotFoundError(f"pyproject.toml: {pattern} names no module to compile")
            found += (str(path.relative_to(root)) for path in paths)
        return found

    def _compile(self, work: Path) -> dict[str, str]:
        """Built file → its place in the wheel."""
        # Needed, and installed, only when this hook runs. setuptools comes first: it stands in for distutils.
        from setuptools import Distribution  # isort: skip
        from mypyc.build import mypycify

        options = ["--config-file=pyproject.toml", f"--cache-dir={work / 'cache'}", "--follow-imports=silent"]
        extensions = mypycify(
            [*options, *self._modules()],
            debug_level="0",
            target_dir=str(work / "c"),
            group_name="remora",
            separate=False,
        )
        build = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
        build.build_lib, build.build_temp = str(work / "lib"), str(work / "o")
        build.ensure_finalized()
        build.run()
        return {str(path): str(path.relative_to(work / "lib")) for path in (work / "lib").rglob("*.so")}
