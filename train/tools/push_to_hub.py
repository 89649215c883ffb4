"""Upload an exported model to the model hub, with a card that says how it was made: only what export.json proves.

    HF_TOKEN=hf_… python train/tools/push_to_hub.py train/merged_model my-org/my-model \\
        --evaluation-before train/outputs/eval/base --evaluation-after train/outputs/eval/my-model

      https://huggingface.co/my-org/my-model (private)

The token needs write access; it is read from HF_TOKEN and nowhere else. HF_ENDPOINT is another hub; one that
does not speak Xet needs HF_HUB_DISABLE_XET=1. All files come in one commit, so the repository never shows half a model;
a second try sends only what has not arrived.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from embedded_model import missing_parts
from env_adapter import SettingsError
from model_card import model_card, public_model, without_paths
from model_weights import ExportError, read_json


def read_proof(directory: Path) -> dict[str, Any]:
    """export.json of a model that may be uploaded. Raises ExportError unless its proof passed."""
    path = directory / "export.json"
    if not path.is_file():
        raise ExportError(
            f"{directory} has no export.json: only what merge.sh, merge-ppo.sh, merge-sft.sh or merge-two-models.sh "
            "has proven is uploaded"
        )
    export = read_json(path)
    proof = export.get("proof")
    if not isinstance(proof, dict) or proof.get("passed") is not True:
        what = "did not pass its proof" if isinstance(proof, dict) else "was exported without a proof"
        raise ExportError(f"{directory} {what} (export.json): it is not uploaded; export it again, without --no-verify")
    if (directory / "DO_NOT_USE.txt").exists():
        raise ExportError(f"{directory} is marked by DO_NOT_USE.txt, which says why: it is not uploaded")
    missing = missing_parts(directory)
    if missing:
        raise ExportError(f"{directory} is not whole, missing or broken: {', '.join(missing)}; export it again")
    return export


def contents(directory: Path, card: str) -> dict[str, Path | bytes]:
    """Path in the repository → the file, or its bytes where paths of this machine had to be taken out.

    Hidden files stay here. A README.md in the directory is somebody's own card, and is taken in place of `card`.
    """
    files: dict[str, Path | bytes] = {"README.md": card.encode()}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            files[name.as_posix()] = path
    export = without_paths(read_json(directory / "export.json"))
    files["export.json"] = (json.dumps(export, indent=2) + "\n").encode()
    adapter = "lora_adapter/adapter_config.json"
    if adapter in files:
        config = read_json(directory / adapter)
        config["base_model_name_or_path"] = public_model(config.get("base_model_name_or_path") or "") or None
        files[adapter] = (json.dumps(config, indent=2) + "\n").encode()
    return files


def push(
    directory: Path, repo: str, *, public: bool = False, before: Path | None = None, after: Path | None = None
) -> str:
    """Upload the model to `repo` (org/name) and return its URL.

    `before` and `after` are directories of evaluate.sh for the card. Raises ExportError for a model without a passed
    proof, without a token, for a repository that is public where that was not asked for, and for what the hub answers;
    until the one commit at the end the repository holds what it held.
    """
    read_proof(directory)
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise ExportError(f"HF_TOKEN is not set: uploading to {repo} needs a token with write access")
    if (directory / "README.md").is_file() and (before or after):
        raise ExportError(f"{directory}/README.md would hide the evaluations: remove it to have a card made")
    try:
        card = str(model_card(directory, repo, before=before, after=after))
    except SettingsError as error:
        raise ExportError(str(error)) from error
    return _upload(contents(directory, card), repo, token, public)


def _upload(files: dict[str, Path | bytes], repo: str, token: str, public: bool) -> str:
    import httpx
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    api = HfApi(endpoint=endpoint, token=token)
    try:
        repo_id = api.create_repo(repo, private=not public, exist_ok=True).repo_id
        if not public and not api.model_info(repo_id).private:
            raise ExportError(f"{endpoint}/{repo_id} is public: pass --public to upload to it, or choose another name")
        # Not upload_folder: it commits every five minutes, and until its end the repository would show half a model.
        api.create_commit(
            repo_id,
            [CommitOperationAdd(name, file) for name, file in files.items()],
            commit_message="Upload a model that veritas-rl has exported and checked",
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = f"HF_TOKEN may not write to {repo}, or is not valid" if status in (401, 403) else "try again later"
        raise ExportError(
            f"{endpoint} answered {status} to the upload of {repo}: {why}; nothing was changed"
        ) from error
    except (httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, ExportError):
            raise
        cause = error.__cause__ or error  # the library says "Error while uploading" and keeps the reason below
        reason = " ".join(f"{error}: {cause}".split() if cause is not error else str(error).split())
        hint = " (set HF_HUB_DISABLE_XET=1 for a hub without Xet)" if "xet-write-token" in reason else ""
        raise ExportError(
            f"{repo} could not be uploaded to {endpoint}: {reason.replace(token, '***')}{hint}"
        ) from error
    return f"{endpoint}/{repo_id}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="the exported model, with its export.json")
    parser.add_argument("repo", help="org/name at the hub; made when it is not there")
    parser.add_argument("--public", action="store_true", help="default: private")
    parser.add_argument("--evaluation-before", type=Path, metavar="DIR", help="evaluation of the initial model")
    parser.add_argument("--evaluation-after", type=Path, metavar="DIR", help="evaluation of this model")
    parser.add_argument("--card", action="store_true", help="print the card, and upload nothing")
    options = parser.parse_args(arguments)
    before, after = options.evaluation_before, options.evaluation_after
    try:
        if options.card:
            read_proof(options.directory)
            print(model_card(options.directory, options.repo, before=before, after=after))
            return 0
        url = push(options.directory, options.repo, public=options.public, before=before, after=after)
    except (ExportError, SettingsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {options.repo} holds what it held", file=sys.stderr)
        return 130
    print(f"  {url} ({'public' if options.public else 'private'})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
