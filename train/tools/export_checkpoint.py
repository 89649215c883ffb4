"""Turn a training checkpoint into a model: verl merges the ranks' shards, LoRA is merged into its base, and proven.

    python train/tools/export_checkpoint.py --checkpoint-base train/artifacts/RL/checkpoints/my-run \\
        --target-dir train/merged_model

      source    train/artifacts/RL/checkpoints/my-run/global_step_20/actor (1 rank)
      kind      LoRA, r=32, alpha=32
      …

The target is a plain Hugging Face model with the config, tokenizer and chat template that were trained; for LoRA also
`lora_adapter/` with the PEFT files. It is there whole or not at all: nothing is renamed into place before the proof.
The engine of merge.sh and merge-ppo.sh.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from checkpoint_steps import Checkpoint, find_checkpoint
from merge_adapter_into_base import merge_adapter
from model_files import model_skeleton
from model_weights import Difference, ExportError, ModelWeights, compare
from whole_dir import TargetError, check_free_space, check_target, whole_dir

BYTES_PER_PARAMETER = 2  # verl's merger writes bfloat16, whatever the training ran in


def export_checkpoint(
    checkpoint: Checkpoint,
    target: Path,
    *,
    base_model: Path | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Write the checkpoint as a Hugging Face model to `target`; returns the report, which is also in export.json.

    Raises ExportError when the result is not the trained model, TargetError when the target cannot be written. In both
    cases the target is what it was before.
    """
    check_target(target, overwrite)
    base = ModelWeights(base_model) if base_model else None
    parameters = count_parameters(checkpoint, trust_remote_code)
    copies = 2 if checkpoint.lora else 1  # the base that verl writes, and the merged model
    check_free_space(target, copies * parameters * BYTES_PER_PARAMETER)
    with whole_dir(target, overwrite) as staging:
        written = staging / ".verl"
        run_verl_merger(checkpoint.directory, written, trust_remote_code)
        is_lora = (written / "lora_adapter").is_dir()
        if is_lora != bool(checkpoint.lora):
            raise ExportError(
                f"{checkpoint.directory}: verl found {'a' if is_lora else 'no'} LoRA adapter, and lora_train_meta.json "
                f"is {'there' if checkpoint.lora else 'missing, so its alpha is not known'}"
            )
        check_complete(ModelWeights(written), parameters, tied=_is_tied(written))
        if is_lora:
            difference = merge_lora(written, staging, base, trust_remote_code)
            shutil.rmtree(written)
        else:
            difference = compare_with_base(base, written)
            for path in written.iterdir():
                path.rename(staging / path.name)
            written.rmdir()
        report = report_of(checkpoint, target, parameters, base_model, difference)
        (staging / "export.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def count_parameters(checkpoint: Checkpoint, trust_remote_code: bool = False) -> int:
    """The parameters that the checkpoint's own config asks for; tied ones count once. Raises ExportError."""
    skeleton = model_skeleton(checkpoint.directory / "huggingface", trust_remote_code)
    return sum(parameter.numel() for parameter in skeleton.parameters())


def run_verl_merger(local_dir: Path, target: Path, trust_remote_code: bool = False) -> None:
    """verl's own merger in a process of its own, its output on stderr. Raises ExportError when it fails."""
    command = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    command += ["--local_dir", str(local_dir.absolute()), "--target_dir", str(target.absolute())]
    if trust_remote_code:
        command.append("--trust-remote-code")
    # Offline: a tokenizer that is not in the checkpoint must not come from the hub. Standard output is for the report.
    stderr = 2
    result = subprocess.run(command, stdout=stderr, env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False)
    if result.returncode:
        raise ExportError(f"verl's merger failed with exit status {result.returncode}, see above: {' '.join(command)}")


def check_complete(weights: ModelWeights, parameters: int, tied: bool) -> None:
    """Raises ExportError when a model has other parameters than its config: a lost tensor, a duplicated lm_head."""
    if tied and "lm_head.weight" in weights:
        raise ExportError(f"{weights.directory} stores lm_head.weight, which its config ties to the embedding")
    if weights.num_parameters() != parameters:
        raise ExportError(
            f"{weights.directory} has {weights.num_parameters():,} parameters and its config asks for {parameters:,}: "
            "with save_lora_only=True the checkpoint holds no base; otherwise a tensor is lost or duplicated"
        )


def merge_lora(written: Path, staging: Path, base: ModelWeights | None, trust_remote_code: bool) -> Difference:
    """Merge `written/lora_adapter` into the base and move it beside the merged model; returns the proven difference.

    What verl wrote holds the very weights that the adapter was trained on, so it is the base. A base that the user
    names must be equal to it (in bfloat16); then it is used, in its own dtype, and named in adapter_config.json.
    """
    adapter = written / "lora_adapter"
    if base is not None:
        difference = compare(base, ModelWeights(written), cast=True)
        if difference.changed:
            raise ExportError(
                f"the adapter was trained on another base than {base.directory}: {len(difference.changed)} of "
                f"{difference.tensors} frozen tensors differ, by up to {difference.max_abs:.3g}. "
                "Pass the base of that run as --base-model, or leave it out to use the one in the checkpoint"
            )
        _name_base(adapter / "adapter_config.json", base.directory)
    source = base.directory if base is not None else written
    difference = merge_adapter(source, adapter, staging, trust_remote_code=trust_remote_code, trained=written)
    adapter.rename(staging / "lora_adapter")
    return difference


def compare_with_base(base: ModelWeights | None, written: Path) -> Difference | None:
    """How full training changed the base, None when it is not known. Raises ExportError when it changed nothing."""
    if base is None:
        return None
    difference = compare(base, ModelWeights(written), cast=True)
    if not difference.changed:
        raise ExportError(f"the checkpoint is identical to the base {base.directory}: the training changed nothing")
    return difference


def report_of(
    checkpoint: Checkpoint, target: Path, parameters: int, base_model: Path | None, difference: Difference | None
) -> dict[str, Any]:
    """What was exported and what was proven, as plain JSON values."""
    lora = checkpoint.lora
    return {
        "source": str(checkpoint.directory),
        "global_step": checkpoint.step,
        "ranks": len(checkpoint.shards),
        "kind": "LoRA" if lora else "full",
        "lora": {"r": lora.get("r"), "alpha": lora.get("lora_alpha")} if lora else None,
        "base_model": str(base_model) if base_model else None,
        "parameters": parameters,
        "tensors": difference.tensors if difference else None,
        "tensors_changed": len(difference.changed) if difference else None,
        "max_abs_change": difference.max_abs if difference else None,
        "target": str(target),
    }


def print_report(report: dict[str, Any]) -> None:
    lora = report["lora"]
    change = "not compared: name the base with --base-model"
    if report["tensors"] is not None:
        change = f"{report['tensors_changed']} of {report['tensors']} tensors, max |Δ| {report['max_abs_change']:.3g}"
    ranks = "1 rank" if report["ranks"] == 1 else f"{report['ranks']} ranks"
    rows = {
        "source": f"{report['source']} ({ranks})",
        "kind": f"LoRA, r={lora['r']}, alpha={lora['alpha']}" if lora else "full",
        "base": report["base_model"] or ("the frozen weights in the checkpoint" if lora else "not known"),
        "params": f"{report['parameters']:,}",
        "changed": change,
        "target": report["target"],
    }
    for name, value in rows.items():
        print(f"  {name:8}  {value}")
    if lora and not report["base_model"]:
        print("  lora_adapter/adapter_config.json names no base: pass --base-model to have it filled in")


def _name_base(config_file: Path, base: Path) -> None:
    config = json.loads(config_file.read_text())
    config["base_model_name_or_path"] = str(base.absolute())
    config_file.write_text(json.dumps(config, indent=2) + "\n")


def _is_tied(directory: Path) -> bool:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(directory).get_text_config().tie_word_embeddings


def recorded_base(checkpoint: Path) -> Path | None:
    """The model that the run's last start named in `starts.jsonl`, if that is there and the model still is."""
    for directory in checkpoint.absolute().parents[:2]:
        starts = directory / "starts.jsonl"
        if starts.is_file():
            model = json.loads(starts.read_text(encoding="utf-8").splitlines()[-1]).get("model")
            return Path(model) if model and (Path(model) / "config.json").is_file() else None
    return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint-base", type=Path, required=True, help="the experiment's directory of checkpoints")
    parser.add_argument("--global-step", type=int, help="default: the latest complete one")
    parser.add_argument("--target-dir", type=Path, required=True)
    parser.add_argument(
        "--base-model",
        type=Path,
        help="what the run started from: compared with, and named (default: as in the run's starts.jsonl)",
    )
    parser.add_argument("--role", default="actor", help="the model of a PPO checkpoint (default: actor)")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the model code in the checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="replace the target once the new model is proven")
    options = parser.parse_args(arguments)
    # Without this a SIGTERM would leave the merger running and the staging directory behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        checkpoint, remarks = find_checkpoint(options.checkpoint_base, options.global_step, options.role)
        for remark in remarks:
            print(f"note: {remark}", file=sys.stderr)
        report = export_checkpoint(
            checkpoint,
            options.target_dir,
            base_model=options.base_model or recorded_base(checkpoint.directory),
            overwrite=options.overwrite,
            trust_remote_code=options.trust_remote_code,
        )
    except (ExportError, TargetError, OSError, SafetensorError) as error:  # the last two: disk full, no permission
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {options.target_dir} is what it was before", file=sys.stderr)
        return 130
    print_report(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
