"""Uploading a folder to the Hub."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi

from ..errors import HiveError, describe


def check_push(repo_id: str) -> None:
    """Ask the Hub, before anything is made for it, whether it would take an upload.

    Raises:
        HiveError: nobody is logged in, the repository is another's, or it holds a script that keeps it from loading.
    """
    api = HfApi()
    try:
        me = api.whoami()
        names = [me["name"], *(organisation["name"] for organisation in me.get("orgs", []))]
        owner = repo_id.rpartition("/")[0] or me["name"]
        if owner not in names:
            raise HiveError(f"{repo_id} is not yours: you are logged in as {' and '.join(names)}. Nothing was made.")
        if api.repo_exists(repo_id, repo_type="dataset"):
            _check_script(api, repo_id)
    except HiveError:
        raise
    except Exception as error:  # as below
        raise HiveError(
            f"{repo_id} could not be asked for at the Hub: {describe(error)}. Log in (hf auth login), or upload later, "
            "without push_to_hub=. Nothing was made."
        ) from None


def _check_script(api: HfApi, repo_id: str) -> None:
    script = f"{PurePosixPath(repo_id).name}.py"
    if script in api.list_repo_files(repo_id, repo_type="dataset"):
        raise HiveError(
            f"{repo_id} holds {script}, a loading script by its name, which keeps `datasets` 4 and newer from loading "
            "the repository: delete it there. Nothing was made."
        )


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
        places = {file.relative_to(folder).parent.as_posix() for file in folder.rglob("*.parquet")}
        api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            repo_type="dataset",
            commit_message="Upload with hive-datasets",
            delete_patterns=[f"{place}/*.parquet" for place in sorted(places)],
        )
    except Exception as error:  # whatever keeps the Hub away: no network, no such host, no access, no such name
        raise HiveError(
            f"{folder} could not be uploaded to {repo_id}: {describe(error)}. It is kept: log in (hf auth login), then "
            f"hf upload {repo_id} {folder} --repo-type dataset"
        ) from None
    return url
