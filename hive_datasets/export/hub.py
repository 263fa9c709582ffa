"""Uploading a folder to the Hub."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi

from ..errors import HiveError, describe


def push_folder(folder: Path, repo_id: str, private: bool = True) -> str:
    """Upload a folder to a dataset repository of the Hub, which is made if it is not there; returns its address.

    Parquet files of the repository that lie where the folder has its own go away with the same commit: they are of an
    earlier upload, and would be read along.

    Args:
        folder: what `write_preview` or `write_package` has written.
        repo_id: such as "me/hive-preview".
        private: whether a new repository is private; one that is there stays as it is.

    Raises:
        HiveError: it could not be uploaded; the folder is as it was.
    """
    api = HfApi()
    try:
        url = str(api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True))
        script = f"{PurePosixPath(repo_id).name}.py"
        if script in api.list_repo_files(repo_id, repo_type="dataset"):
            raise HiveError(
                f"{url} holds {script}, a loading script by its name, which keeps `datasets` 4 and newer from loading "
                f"the repository: delete it there, then upload {folder} with hf upload {repo_id} {folder} --repo-type "
                "dataset"
            )
        places = {file.relative_to(folder).parent.as_posix() for file in folder.rglob("*.parquet")}
        api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            repo_type="dataset",
            commit_message="Upload with hive-datasets",
            delete_patterns=[f"{place}/*.parquet" for place in sorted(places)],
        )
    except HiveError:
        raise
    except Exception as error:  # whatever keeps the Hub away: no network, no such host, no access, no such name
        raise HiveError(
            f"{folder} could not be uploaded to {repo_id}: {describe(error)}. It is kept: log in (hf auth login), then "
            f"hf upload {repo_id} {folder} --repo-type dataset"
        ) from None
    return url
