"""The files of a dataset of the hub, downloaded to the hub's own cache: `org/name`, or `org/name:config`.

Which files belong to a split is the dataset's to say (its README's configs, its file names); `datasets` reads that.
HF_TOKEN, HF_ENDPOINT and HF_HOME are honoured.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from row_io.source_error import SourceError, first_line

HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::([\w.-]+))?", re.ASCII)


def looks_like_hub_id(name: str) -> bool:
    """Whether this can be a dataset of the hub, and not a path in a directory that is there."""
    return bool(HUB_ID.fullmatch(name)) and not Path(name.partition("/")[0]).is_dir()


def fetch_files(name: str, split: str) -> list[Path]:
    """The dataset's files of the split, in order, on this machine. Raises SourceError."""
    match = HUB_ID.fullmatch(name)
    if not match:
        raise SourceError(f"{name} is no id of a dataset (org/name or org/name:config)")
    repository, config = match.groups()
    with _errors_named(repository):
        from datasets import load_dataset_builder
        from huggingface_hub import HfApi, HfFileSystem, hf_hub_download

        token = os.environ.get("HF_TOKEN") or None
        HfApi(token=token).dataset_info(
            repository
        )  # says at once what is wrong; all else tries again for half a minute
        splits = load_dataset_builder(repository, config, token=token).config.data_files or {}
        if split not in splits:
            raise SourceError(f"{repository} has no split {split!r}; its splits are {', '.join(map(str, splits))}")
        places = [HfFileSystem(token=token).resolve_path(url) for url in splits[split]]
        return [
            Path(
                hf_hub_download(
                    repository, place.path_in_repo, repo_type="dataset", revision=place.revision, token=token
                )
            )
            for place in places
        ]


@contextmanager
def _errors_named(repository: str) -> Iterator[None]:
    """Makes one SourceError of what the hub's libraries raise."""
    import httpx
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    how = "HF_TOKEN has no access to it" if os.environ.get("HF_TOKEN") else "set HF_TOKEN (a token with read access)"
    try:
        yield
    except SourceError:
        raise
    except (GatedRepoError, RepositoryNotFoundError, DatasetNotFoundError) as error:
        if isinstance(error, GatedRepoError) or "is a gated dataset" in str(error):
            page = f"{endpoint}/datasets/{repository}"
            raise SourceError(f"{repository} is gated: ask for access at {page}; {how}") from error
        raise SourceError(
            f"{repository} is no local file, and {endpoint} has no dataset of that name, or it is private: {how}"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = how if status in (401, 403) else "try again later"
        raise SourceError(f"{endpoint} answered {status} for {repository}: {why}") from error
    except (httpx.HTTPError, OfflineModeIsEnabled, ConnectionError) as error:
        raise SourceError(
            f"{repository} could not be reached at {endpoint} ({first_line(error)}): check the network, "
            "or give files that are on this machine"
        ) from error
    except (DatasetsError, ValueError, OSError) as error:
        raise SourceError(f"{repository} of {endpoint}: {first_line(error)}") from error
