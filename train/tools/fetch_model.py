"""The local directory of a model: a path as it is, a hub id from train/models/<id>, downloaded when it is not there.

    python train/tools/fetch_model.py Qwen/Qwen3-4B             # …/train/models/Qwen/Qwen3-4B
    python train/tools/fetch_model.py train/models/mine         # a local directory
    python train/tools/fetch_model.py Qwen/Qwen3-4B --locate    # only says where it is or will be
    python train/tools/fetch_model.py my/dir/missing --plan     # the same, and a missing directory is no error

The directory is printed on stdout, all else on stderr. A download goes to train/models/.downloads/<id>, continues
there after an interruption, and is renamed into place when whole. HF_TOKEN and HF_ENDPOINT are honoured; the token is
asked for only when the hub refuses without one.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import sys
from pathlib import Path

from embedded_model import missing_parts
from whole_dir import TargetError, check_free_space

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "train" / "models"
EMBEDDED = "SmolLM2-135M-Instruct"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
UNUSED = ("original/*", "onnx/*", "openvino/*", "*.gguf", "*.onnx", "*.msgpack", "*.h5", "*.ot", "*.tflite", "*.pth")
"""Copies of the weights in formats that neither transformers nor vLLM reads here."""


class ModelError(RuntimeError):
    """The model cannot be had: the message names it and says what to do."""


def missing_files(directory: Path) -> list[str]:
    """What a model directory lacks, in words; empty for a whole one. Weights may be safetensors or PyTorch's."""
    missing = missing_parts(directory)
    if any(directory.glob("pytorch_model*.bin")) and not any(directory.glob("*.safetensors")):
        missing = [part for part in missing if part != "model.safetensors"]
    return missing


def local_dir(model: str) -> Path | None:
    """The directory that `model` names as a path, from here or from the repository, or None."""
    for path in (Path(model).expanduser(), ROOT / model):
        if path.is_dir():
            return path.resolve()
    return None


def is_hub_id(model: str) -> bool:
    """Whether this can be a hub id: `org/name`, and not the start of a path into this repository."""
    return bool(HUB_ID.fullmatch(model)) and not (ROOT / Path(model).parts[0]).exists()


def locate(model: str) -> tuple[Path, bool]:
    """(directory, whether the model is there). Raises ModelError for a broken directory and for what names nothing."""
    directory = local_dir(model)
    if directory is None and not is_hub_id(model):
        hint = ": run `make model`" if Path(model).name == EMBEDDED else ", nor a hub id like org/name"
        raise ModelError(f"model {model} is not there{hint}")
    directory = directory or MODELS / model
    if not directory.exists():
        return directory, False
    if not os.access(directory, os.R_OK | os.X_OK):
        raise ModelError(f"model directory {directory} cannot be read: check its permissions")
    missing = missing_files(directory)
    if missing:
        raise ModelError(f"model directory {directory} is not whole; missing or broken: {', '.join(missing)}")
    return directory, True


def download(model: str, directory: Path) -> None:
    """Download a hub model to `directory`. Raises ModelError or TargetError."""
    import httpx
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    token = os.environ.get("HF_TOKEN") or None
    how = "HF_TOKEN has no access to it" if token else "set HF_TOKEN in .env (a token with read access)"
    staging = MODELS / ".downloads" / model
    staging.mkdir(parents=True, exist_ok=True)
    try:
        with (staging.parent / f"{staging.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second script waits for the first one's download
            if directory.exists():
                return
            files = HfApi().model_info(model, files_metadata=True).siblings or []
            ignore = [*UNUSED, *(["*.bin"] if any(f.rfilename.endswith(".safetensors") for f in files) else [])]
            size = sum(file.size or 0 for file in files if not any(Path(file.rfilename).match(p) for p in ignore))
            have = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
            check_free_space(staging, max(0, size - have))
            print(f"downloading {model} ({size / 1e9:.2f} GB) from {endpoint}", file=sys.stderr)
            snapshot_download(model, local_dir=staging, ignore_patterns=ignore)
            missing = missing_files(staging)
            if missing:
                raise ModelError(f"{model} on {endpoint} is not a model that can be trained here: {', '.join(missing)}")
            directory.parent.mkdir(parents=True, exist_ok=True)
            staging.rename(directory)
    except GatedRepoError as error:
        raise ModelError(f"{model} is gated: ask for access at {endpoint}/{model}; {how}") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{endpoint} has no model {model!r}, or it is private: check AGENT_MODEL_REPO_ID; {how}"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = how if status in (401, 403) else "try again later"
        raise ModelError(f"{endpoint} answered {status} for {model}: {why}") from error
    except (httpx.HTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"{model} could not be downloaded from {endpoint}: {str(error).splitlines()[0]}") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a hub id (org/name) or a local directory")
    parser.add_argument("--locate", action="store_true", help="download nothing")
    parser.add_argument("--plan", action="store_true", help="as --locate, for a dry run: the model may be missing")
    options = parser.parse_args(arguments)
    try:
        if options.plan and local_dir(options.model) is None and not is_hub_id(options.model):
            print(f"note: model {options.model} is not there yet", file=sys.stderr)
            print(Path(options.model) if Path(options.model).is_absolute() else ROOT / options.model)
            return 0
        directory, there = locate(options.model)
        if not there and (options.locate or options.plan):
            print(f"note: {options.model} is not on this machine yet; a run downloads it", file=sys.stderr)
        elif not there:
            download(options.model, directory)
    except (ModelError, TargetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the next run continues the download", file=sys.stderr)
        return 130
    print(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
