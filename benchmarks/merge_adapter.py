"""Time and memory of merging a LoRA adapter into its base, against the disk's copy of the same bytes.

    .venv/bin/python benchmarks/merge_adapter.py                                    # 135M, seconds
    .venv/bin/python benchmarks/merge_adapter.py --billions 4 --json benchmarks/results/merge_adapter.json

The model is random, in bfloat16, in the shape of a Qwen3 of that size; the adapter is on all linear layers, rank 32.
`ratio` is the time over that of `cp` and `sync` of the model; the aim is a few. `peak` is the greatest resident memory,
pages of files that are mapped counted, over the model's bytes; the aim is under 1.5.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from converters import measure
from transformers import Qwen3Config

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "train" / "tools"
SHAPES = {  # hidden, intermediate, layers, heads, key and value heads
    0.1: (576, 1536, 12, 9, 3),
    0.6: (1024, 3072, 28, 16, 8),
    4: (2560, 9728, 36, 32, 8),
    8: (4096, 12288, 36, 32, 8),
}
RANK = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--billions", type=float, choices=SHAPES, default=0.1, help="parameters of the model, about")
    parser.add_argument("--dir", type=Path, help="where the models go (default: a temporary directory)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as scratch:
        base, adapter = Path(scratch) / "base", Path(scratch) / "adapter"
        code = f"import sys; sys.path[:0] = {[str(TOOLS), str(Path(__file__).parent)]}; from pathlib import Path\n"
        code += f"import merge_adapter as b; b.write_model(Path({str(base)!r}), {options.billions}); "
        code += f"b.write_adapter(Path({str(base)!r}), Path({str(adapter)!r}))"
        subprocess.run([sys.executable, "-c", code], check=True)
        size = sum(path.stat().st_size for path in base.glob("*.safetensors"))
        print(f"{size / 1e9:.2f} GB of weights")
        print(f"{'':<22}{'s':>8}{'ratio':>8}{'peak GB':>10}{'peak':>8}")
        figures: dict[str, dict[str, float]] = {}
        started = time.perf_counter()
        subprocess.run(["cp", "-r", base, Path(scratch) / "copy"], check=True)
        os.sync()
        copied = time.perf_counter() - started
        shutil.rmtree(Path(scratch) / "copy")
        print(f"{'cp and sync':<22}{copied:8.1f}{1:8.2f}")
        command = [sys.executable, str(TOOLS / "merge_adapter_into_base.py"), "--base_model", str(base)]
        command += ["--adapter_model", str(adapter), "--output_dir", str(Path(scratch) / "merged"), "--overwrite"]
        for name, flags in (("merge", ["--no_verify"]), ("merge and proof", ["--no_vllm"])):
            run = measure([*command, *flags])
            peak = run.peak_mib * 2**20
            figures[name] = {
                "s": run.seconds,
                "ratio": run.seconds / copied,
                "peak_gb": peak / 1e9,
                "peak": peak / size,
            }
            print(f"{name:<22}{run.seconds:8.1f}{run.seconds / copied:8.2f}{peak / 1e9:10.2f}{peak / size:8.2f}")
        proof = json.loads((Path(scratch) / "merged" / "export.json").read_text())["proof"]
        for check in proof["checks"]:
            print(f"  {check['name']:<13} {check['verdict']:<9} {check['measured']}")
    if options.json:
        content = {"billions": options.billions, "gb": size / 1e9, "copy_s": copied, **figures}
        options.json.write_text(json.dumps(content, indent=2) + "\n")


def write_model(directory: Path, billions: float) -> None:
    """A random model in bfloat16, written tensor by tensor."""
    from safetensors.torch import save_file

    from model_files import model_skeleton
    from model_weights import ModelWeights, write_shards

    hidden, intermediate, layers, heads, kv_heads = SHAPES[billions]
    Qwen3Config(
        hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, head_dim=128 if hidden >= 1024 else 64, tie_word_embeddings=True,
        architectures=["Qwen3ForCausalLM"], dtype="bfloat16",
    ).save_pretrained(directory)  # fmt: skip
    skeleton = model_skeleton(directory)
    numbers = torch.Generator().manual_seed(0)
    files: dict[str, str] = {}
    for index, (name, parameter) in enumerate(skeleton.named_parameters()):
        tensor = torch.ones(parameter.shape, dtype=torch.bfloat16)
        if parameter.dim() == 2:
            tensor = (torch.rand(parameter.shape, generator=numbers, dtype=torch.float32) * 0.08 - 0.04).bfloat16()
        file = f"part-{index:05d}.safetensors"
        save_file({name: tensor}, directory / file)
        files[name] = file
    total = {"total_size": sum(path.stat().st_size for path in directory.glob("part-*"))}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": total, "weight_map": files}))
    parts = ModelWeights(directory)
    (directory / "model.safetensors.index.json").unlink()
    write_shards(directory, parts, ((name, parts.tensor(name)) for name in parts), "2GB")
    for path in directory.glob("part-*"):
        path.unlink()


def write_adapter(base: Path, directory: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from model_files import model_skeleton

    torch.manual_seed(1)
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model_skeleton(base), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    model.save_pretrained(directory)
    settings = json.loads((directory / "adapter_config.json").read_text())
    (directory / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": str(base)}))


if __name__ == "__main__":
    main()
