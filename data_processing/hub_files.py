"""The files of a dataset of the hub, downloaded to the hub's own cache: `org/name`, or `org/name:config`.

Which files belong to a split is the dataset's to say (its README's configs, its file names); `datasets` reads that.
HF_TOKEN, HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE are honoured.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from source_error import SourceError, first_line

HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::([\w.-]+))?", re.ASCII)


def looks_like_hub_id(name: str) -> bool:
    """Whether this can be a dataset of the hub, and not a path in a directory that is there."""
    return bool(HUB_ID.fullmatch(name)) and not Path(name.partition("/")[0]).is_dir()


def fetch_files(name: str, split: str) -> list[Path]:
    """The dataset's files of the split, in order, on this machine. Raises SourceError."""
    import httpx
    from datasets import exceptions, load_dataset_builder
    from huggingface_hub import HfFileSystem, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    match = HUB_ID.fullmatch(name)
    assert match
    repository, config = match.groups()
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    token = os.environ.get("HF_TOKEN") or None
    how = "HF_TOKEN has no access to it" if token else "set HF_TOKEN (a token with read access)"
    try:
        builder = load_dataset_builder(repository, config, token=token)
        splits = builder.config.data_files or {}
        if split not in splits:
            raise SourceError(f"{repository} has no split {split!r}; its splits are {', '.join(map(str, splits))}")
        files = []
        for url in splits[split]:
            place = HfFileSystem().resolve_path(url)
            files.append(
                hf_hub_download(
                    repository, place.path_in_repo, repo_type="dataset", revision=place.revision, token=token
                )
            )
        return [Path(file) for file in files]
    except GatedRepoError as error:
        raise SourceError(
            f"{repository} is gated: ask for access at {endpoint}/datasets/{repository}; {how}"
        ) from error
    except (RepositoryNotFoundError, exceptions.DatasetNotFoundError) as error:
        raise SourceError(
            f"{name} is no local file, and {endpoint} has no dataset of that name, or it is private: {how}"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        why = how if status in (401, 403) else "try again later"
        raise SourceError(f"{endpoint} answered {status} for {repository}: {why}") from error
    except (httpx.HTTPError, OfflineModeIsEnabled, ConnectionError) as error:
        raise SourceError(
            f"{repository} could not be reached at {endpoint} ({first_line(error)}): check the network, "
            "or give the downloaded files"
        ) from error
    except (exceptions.DatasetsError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{repository}: {first_line(error)}") from error
