"""A Python environment in which everything that requirements.txt names seems to be installed, to be broken on purpose.

    stack = StandInStack(tmp_path, ROOT, "gpu")
    stack.module("flash_attn_2_cuda", "raise ImportError('…undefined symbol: _ZN3c105Error…')")
    stack.python            # a virtual environment's, with no package of the real one but pydantic

The packages are their metadata and, where something is imported, a few lines in their place.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

FILES = {"cpu": ("requirements-cpu.txt", "requirements-cpu-hashed.txt"), "gpu": ("requirements.txt",)}
REAL = ("pydantic", "pydantic_core", "typing_extensions", "annotated_types", "typing_inspection")
"""What the probe of the sandbox imports."""
TORCH = """
from .version import __version__
from . import version

class cuda:
    is_available = staticmethod(lambda: {available})
    device_count = staticmethod(lambda: 1)
    init = staticmethod(lambda: None)

    class nccl:
        version = staticmethod(lambda: (2, 28, 9))
"""


class StandInStack:
    """`root` has the requirements files; `kind` is cpu or gpu."""

    def __init__(self, tmp: Path, root: Path, kind: str) -> None:
        self.folder = tmp / f"{kind} env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.folder], check=True)
        self.python = self.folder / "bin/python"
        self.packages = self.folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
        text = "\n".join((root / name).read_text() for name in FILES[kind])
        for name, versions in re.findall(r"^([A-Za-z][A-Za-z0-9_.-]*)(?:\[.*\])?([^\s;#]*)", text, re.MULTILINE):
            self.install(name, (re.findall(r"[=>]=([\d.]+[a-z0-9.]*)", versions) or ["1.0"])[0])
        for name in REAL:
            spec = find_spec(name)
            assert spec and spec.origin
            real = Path(spec.origin)
            real = real.parent if real.name == "__init__.py" else real
            (self.packages / real.name).symlink_to(real)
        for name in ("hydra", "vllm"):
            self.module(name, "")
        version = re.search(r"^torch==(\S+)", text, re.MULTILINE)
        assert version
        self.torch(version[1], cuda="13.0" if kind == "gpu" else None)
        if kind == "gpu":
            self.install("flash-attn", "2.8.3")
            self.module("flash_attn", "")
            self.module("flash_attn_2_cuda", "")

    def install(self, name: str, version: str) -> None:
        """Its metadata, in place of another version's."""
        self.remove(name)
        info = self.packages / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    def remove(self, *names: str) -> None:
        for name in names:
            for info in self.packages.glob(f"{name.replace('-', '_')}-*.dist-info"):
                shutil.rmtree(info)

    def module(self, name: str, code: str) -> Path:
        folder = self.packages / name
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text(code)
        return folder

    def torch(self, version: str, cuda: str | None, available: bool = True) -> None:
        """A torch that says that it is built for this CUDA, written as torch writes it."""
        self.install("torch", version)
        folder = self.module("torch", TORCH.format(available=available))
        (folder / "version.py").write_text(
            f"from typing import Optional\n__version__ = {version!r}\ncuda: Optional[str] = {cuda!r}\n"
        )

    def pretend_python(self, *version: int) -> None:
        """Another sys.version_info, as early as site-packages can say it."""
        code = f"import sys\nsys.version_info = {(*version, 'final', 0)!r}\n"
        (self.packages / "sitecustomize.py").write_text(code)
