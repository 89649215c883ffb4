"""The weights of a Hugging Face model directory, read one tensor at a time, written in shards, and compared.

    base, merged = ModelWeights(Path("train/models/SmolLM2-135M-Instruct")), ModelWeights(Path("train/merged_model"))
    len(base), base.shape("model.norm.weight"), base.dtype("model.norm.weight")     # 272, (576,), torch.bfloat16
    compare(base, merged).changed                       # {'model.layers.0.mlp.down_proj.weight': 0.0021, …}

Never holds more than one tensor of each model, so that models larger than the memory can be compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
PIECE = 2**16  # elements compared at once: their float32 copies stay in the cache, an embedding's would be gigabytes


class ExportError(RuntimeError):
    """The export is refused: the message names the file or tensor, what is wrong with it, and what to do."""


class ModelWeights:
    """The tensors in a model directory's safetensors files. Raises ExportError when a file is missing or broken."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        index = directory / "model.safetensors.index.json"
        if index.is_file():
            files = sorted(set(read_json(index)["weight_map"].values()))
        elif (directory / "model.safetensors").is_file():
            files = ["model.safetensors"]
        else:
            raise ExportError(
                f"{directory} has no model.safetensors: it is not a model directory in safetensors format"
            )
        self._entries: dict[str, tuple[Path, torch.dtype, tuple[int, ...]]] = {}
        for file in files:
            with _opened(directory / file) as tensors:
                for name in tensors.keys():  # noqa: SIM118  (safe_open is no mapping)
                    entry = tensors.get_slice(name)
                    self._entries[name] = (directory / file, _DTYPES[entry.get_dtype()], tuple(entry.get_shape()))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """Names in the order of the files, so that reading in this order opens each file once at a time."""
        return iter(self._entries)

    def dtype(self, name: str) -> torch.dtype:
        return self._entries[name][1]

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entries[name][2]

    def num_parameters(self) -> int:
        return sum(torch.Size(shape).numel() for _, _, shape in self._entries.values())

    def num_bytes(self, dtype: torch.dtype | None = None) -> int:
        """The size of the tensors as they are stored, or cast to `dtype`."""
        return sum(
            torch.Size(shape).numel() * _cast_to(stored, dtype).itemsize for _, stored, shape in self._entries.values()
        )

    def tensor(self, name: str) -> torch.Tensor:
        with _opened(self._entries[name][0]) as tensors:
            return tensors.get_tensor(name)


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises ExportError when the file is missing, cut short, or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ExportError(f"{path} holds {type(content).__name__}, not an object")
    return content


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except (FileNotFoundError, SafetensorError) as error:
        raise ExportError(f"{path} is missing or truncated ({error}): copy or download it again") from error


def _cast_to(stored: torch.dtype, dtype: torch.dtype | None) -> torch.dtype:
    """Integer tensors (buffers) keep their type whatever the model is cast to."""
    return dtype if dtype is not None and stored.is_floating_point else stored


def write_shards(
    directory: Path,
    weights: ModelWeights,
    tensors: Iterable[tuple[str, torch.Tensor]],
    max_shard_size: str,
    dtype: torch.dtype | None = None,
) -> None:
    """Write `tensors` (one for each name of `weights`, in its order) as safetensors files of at most that size.

    Holds one tensor in memory. Names, shapes and order are those of `weights`; raises ExportError for another shape.
    """
    limit = parse_size(max_shard_size)
    shards: list[list[str]] = [[]]
    size = 0
    for name in weights:
        n_bytes = torch.Size(weights.shape(name)).numel() * _cast_to(weights.dtype(name), dtype).itemsize
        if shards[-1] and size + n_bytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += n_bytes
    files = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    if len(shards) == 1:
        files = ["model.safetensors"]
    stream = iter(tensors)
    for file, names in zip(files, shards, strict=True):
        entries = {name: (_cast_to(weights.dtype(name), dtype), weights.shape(name)) for name in names}
        _write_file(directory / file, entries, stream)
    if len(shards) > 1:
        index = {
            "metadata": {"total_size": weights.num_bytes(dtype)},
            "weight_map": {name: file for file, names in zip(files, shards, strict=True) for name in names},
        }
        (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _write_file(
    path: Path, entries: dict[str, tuple[torch.dtype, tuple[int, ...]]], tensors: Iterator[tuple[str, torch.Tensor]]
) -> None:
    """One safetensors file, tensor by tensor: `safetensors.torch.save_file` wants all of a file's tensors in memory,
    and copies them. The format: huggingface.co/docs/safetensors, "Format"."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in entries.items():
        start, end = end, end + torch.Size(shape).numel() * dtype.itemsize
        header[name] = {"dtype": _DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for wanted, (dtype, shape) in entries.items():
            name, tensor = next(tensors)
            if (name, tensor.dtype, tuple(tensor.shape)) != (wanted, dtype, shape):
                raise ExportError(f"{name}: {tensor.dtype} {tuple(tensor.shape)} to be written for {dtype} {shape}")
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)


def parse_size(text: str) -> int:
    """'5GB' → 5,000,000,000 bytes. Raises ExportError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]i?B)", text.strip(), re.IGNORECASE)
    if not match:
        raise ExportError(f"{text!r} is not a size: write a number and {', '.join(_UNITS)}, as in 5GB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


@dataclass(frozen=True)
class Difference:
    """How one model's tensors differ from another's of the same names and shapes."""

    changed: dict[str, float]
    """Name → the largest absolute difference of an element, for the tensors that differ."""
    tensors: int
    """How many tensors were compared."""

    @property
    def max_abs(self) -> float:
        return max(self.changed.values(), default=0.0)


def compare(base: ModelWeights, other: ModelWeights, *, cast: bool = False) -> Difference:
    """The difference of two models that must have the same tensors.

    `cast=True` compares in the other's dtype: verl writes bfloat16 whatever the base was. Raises ExportError for names,
    shapes or (without `cast`) dtypes that differ, and for values that are not finite.
    """
    extra, missing = sorted(set(other) - set(base)), sorted(set(base) - set(other))
    if extra or missing:
        raise ExportError(
            f"{other.directory} has other tensors than {base.directory}: "
            f"{some_of(extra)} too many, {some_of(missing)} missing"
            + (". A stored lm_head means that one of them does not tie it" if extra == ["lm_head.weight"] else "")
        )
    changed = {}
    for name in base:
        if base.shape(name) != other.shape(name):
            raise ExportError(
                f"{name} is {base.shape(name)} in {base.directory} and {other.shape(name)} in {other.directory}: "
                f"{likely_cause(name, base.shape(name), other.shape(name))}"
            )
        if not cast and base.dtype(name) != other.dtype(name):
            raise ExportError(f"{name} is {base.dtype(name)} in the base and {other.dtype(name)} in {other.directory}")
        difference = max_abs_difference(base.tensor(name).to(other.dtype(name)), other.tensor(name))
        if difference != difference or difference == float("inf"):
            raise ExportError(f"{name} in {other.directory} holds values that are not finite")
        if difference:
            changed[name] = difference
    return Difference(changed, len(base))


def likely_cause(name: str, one: tuple[int, ...], other: tuple[int, ...]) -> str:
    """Why a tensor of this name has two shapes."""
    if len(one) == len(other) == 2 and one[1:] == other[1:] and ("embed" in name or "lm_head" in name):
        return "the vocabulary was resized or padded in one of them (its tokenizer has other tokens)"
    return "these are models of different sizes"


def max_abs_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest |a - b|, computed in float32 (float64 for float64); NaN when one of them holds NaN."""
    if torch.equal(a, b):
        return 0.0
    wide = torch.promote_types(a.dtype, torch.float32)
    pieces = zip(a.flatten().split(PIECE), b.flatten().split(PIECE), strict=True)
    return float(torch.stack([(x.to(wide) - y.to(wide)).abs().max() for x, y in pieces]).max())


def some_of(names: list[str]) -> str:
    """['b', 'c', 'd', 'e'] → '4 (b, c, d, …)'."""
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})" if names else "none"
