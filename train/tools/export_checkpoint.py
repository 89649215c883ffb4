"""Turn a training checkpoint into a model: verl merges the ranks' shards, LoRA is merged into its base, and proven.

    python train/tools/export_checkpoint.py --checkpoint-base train/artifacts/RL/checkpoints/my-run \\
        --target-dir train/merged_model

      source        train/artifacts/RL/checkpoints/my-run/global_step_20/actor (1 rank)
      kind          LoRA, r=32, alpha=32
      parameters    pass      134,515,008 as the config asks for, lm_head tied to the embedding
      …

The target is a plain Hugging Face model with the config, tokenizer and chat template that were trained; for LoRA also
`lora_adapter/` with the PEFT files. It is there whole or not at all: nothing is renamed into place before the proof.
The engine of merge.sh, merge-ppo.sh and merge-sft.sh.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError

from checkpoint_proof import count_parameters, prove_export
from checkpoint_steps import Checkpoint, find_checkpoint
from checkpoint_tensors import CheckpointTensors
from export_proof import MARK, NOT_VERIFIED, Proof, ProofError, print_checks, settle, write_report
from merge_adapter_into_base import DTYPES, merge_adapter
from model_files import copy_config
from model_weights import ExportError, ModelWeights, compare, write_shards
from whole_dir import TargetError, check_free_space, check_target, ended_by_sigterm, whole_dir

VERL_WRITES = torch.bfloat16  # verl's merger, whatever the training ran in


def export_checkpoint(
    checkpoint: Checkpoint,
    target: Path,
    *,
    base_model: Path | None = None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    verify: bool = True,
    with_vllm: bool = True,
) -> dict[str, Any]:
    """Write the checkpoint as a Hugging Face model to `target`; returns the report, which is also in export.json.

    Raises ExportError when it cannot be made, TargetError when the target cannot be written, and ProofError when what
    was made is not the trained model: it is then left in `target` + ".refused", marked. `target` is what it was before.
    """
    check_target(target, overwrite)
    base = ModelWeights(base_model) if base_model else None
    parameters = count_parameters(checkpoint, trust_remote_code)
    copies = 2 if checkpoint.lora or dtype else 1  # what verl writes, and the merged or converted model
    check_free_space(target, copies * parameters * (dtype or VERL_WRITES).itemsize)
    with whole_dir(target, overwrite) as staging:
        written = staging / ".verl"
        run_verl_merger(checkpoint.directory, written, trust_remote_code)
        is_lora = (written / "lora_adapter").is_dir()
        if is_lora != bool(checkpoint.lora):
            raise ExportError(
                f"{checkpoint.directory}: verl found {'a' if is_lora else 'no'} LoRA adapter, and lora_train_meta.json "
                f"is {'there' if checkpoint.lora else 'missing, so its alpha is not known'}"
            )
        if is_lora:
            merge_lora(written, staging, base, dtype, trust_remote_code)
            shutil.rmtree(written)
        else:
            if dtype not in (None, VERL_WRITES):
                convert(written, checkpoint, dtype)
            for path in written.iterdir():
                path.rename(staging / path.name)
            written.rmdir()
        proof = None
        if verify:
            proof = prove_export(staging, checkpoint, base, parameters, trust_remote_code, with_vllm)
        report = report_of(checkpoint, target, parameters, base_model, proof)
        settle(staging, target, report)
    return report


def verify_export(
    checkpoint: Checkpoint,
    target: Path,
    *,
    base_model: Path | None = None,
    trust_remote_code: bool = False,
    with_vllm: bool = True,
) -> dict[str, Any]:
    """Prove a model that is there already, and write its export.json anew. Raises ProofError; it is then marked."""
    parameters = count_parameters(checkpoint, trust_remote_code)
    base = ModelWeights(base_model) if base_model else None
    proof = prove_export(target, checkpoint, base, parameters, trust_remote_code, with_vllm)
    report = report_of(checkpoint, target, parameters, base_model, proof)
    write_report(target, report)
    if not proof.passed:
        raise ProofError(f"{target} is not the trained model and must not be used: {MARK} in it says why", report)
    return report


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


def convert(written: Path, checkpoint: Checkpoint, dtype: torch.dtype) -> None:
    """Write the weights of a full checkpoint anew in another dtype: from the ranks' files, which verl rounded."""
    weights, trained = ModelWeights(written), CheckpointTensors(checkpoint)
    old = [*written.glob("*.safetensors"), *written.glob("*.safetensors.index.json")]
    with TemporaryDirectory(dir=written) as scratch:
        write_shards(Path(scratch), weights, ((name, trained.weight(name).to(dtype)) for name in weights), "5GB", dtype)
        for path in old:
            path.unlink()
        for path in Path(scratch).iterdir():
            path.rename(written / path.name)
    copy_config(written, written, dtype)


def merge_lora(
    written: Path, staging: Path, base: ModelWeights | None, dtype: torch.dtype | None, trust_remote_code: bool
) -> None:
    """Merge `written/lora_adapter` into the base and move it beside the merged model.

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
    merge_adapter(
        source, adapter, staging, dtype=dtype, trust_remote_code=trust_remote_code, trained=written, verify=False
    )
    adapter.rename(staging / "lora_adapter")


def report_of(
    checkpoint: Checkpoint, target: Path, parameters: int, base_model: Path | None, proof: Proof | None
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
        "target": str(target),
        "proof": proof.as_json() if proof else NOT_VERIFIED,
    }


def print_report(report: dict[str, Any]) -> None:
    lora = report["lora"]
    ranks = "1 rank" if report["ranks"] == 1 else f"{report['ranks']} ranks"
    rows = {
        "source": f"{report['source']} ({ranks})",
        "kind": f"LoRA, r={lora['r']}, alpha={lora['alpha']}" if lora else "full",
        "base": report["base_model"] or ("the frozen weights in the checkpoint" if lora else "not known"),
        "target": report["target"],
    }
    for name, value in rows.items():
        print(f"  {name:<13} {value}")
    print_checks(report)
    if lora and not report["base_model"]:
        print("  lora_adapter/adapter_config.json names no base: pass --base-model to have it filled in")


def _name_base(config_file: Path, base: Path) -> None:
    config = json.loads(config_file.read_text())
    config["base_model_name_or_path"] = str(base.absolute())
    config_file.write_text(json.dumps(config, indent=2) + "\n")


def recorded_base(checkpoint: Path) -> Path | None:
    """The model that the run's last start named in `starts.jsonl`, if that is there and the model still is."""
    for directory in checkpoint.absolute().parents[:2]:
        starts = directory / "starts.jsonl"
        if starts.is_file():
            model = json.loads(starts.read_text(encoding="utf-8").splitlines()[-1]).get("model")
            return Path(model) if model and (Path(model) / "config.json").is_file() else None
    return None


def export_and_report(options: argparse.Namespace) -> None:
    """What the command line asks for. Raises as export_checkpoint and push_to_hub do."""
    checkpoint, remarks = find_checkpoint(options.checkpoint_base, options.global_step, options.role)
    for remark in remarks:
        print(f"note: {remark}", file=sys.stderr)
    common = {
        "base_model": options.base_model or recorded_base(checkpoint.directory),
        "trust_remote_code": options.trust_remote_code,
        "with_vllm": not options.no_vllm,
    }
    if options.verify_only:
        report = verify_export(checkpoint, options.target_dir, **common)
    else:
        dtype = DTYPES.get(options.dtype)
        how = {"dtype": dtype, "overwrite": options.overwrite, "verify": not options.no_verify}
        report = export_checkpoint(checkpoint, options.target_dir, **common, **how)
    print_report(report)
    if options.push_to_hub:
        from push_to_hub import push

        print(f"  {'hub':<13} {push(options.target_dir, options.push_to_hub, public=options.public)}")


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
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="default: bfloat16, or that of --base-model with LoRA")
    parser.add_argument("--overwrite", action="store_true", help="replace the target once the new model is proven")
    parser.add_argument("--no-verify", action="store_true", help="prove nothing; export.json says so")
    parser.add_argument("--no-vllm", action="store_true", help="prove all but that vLLM loads it")
    parser.add_argument(
        "--verify-only", action="store_true", help="prove the model that is in --target-dir; write its export.json anew"
    )
    parser.add_argument("--push-to-hub", metavar="REPO", help="upload the proven model, with a card; needs HF_TOKEN")
    parser.add_argument("--public", action="store_true", help="with --push-to-hub: for everyone to see")
    options = parser.parse_args(arguments)
    if options.no_verify and (options.verify_only or options.push_to_hub):
        parser.error("--no-verify: only a proven model is uploaded, and --verify-only proves one")
    try:
        with ended_by_sigterm():  # the merger and the staging directory too
            export_and_report(options)
    except ProofError as error:
        print_report(error.report)
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ExportError, TargetError, OSError, SafetensorError) as error:  # the last two: disk full, no permission
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {options.target_dir} is what it was before", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
