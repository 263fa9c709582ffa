import tarfile
import zipfile

import pytest


def zip_folder(folder, file, method=zipfile.ZIP_STORED, prefix=""):
    with zipfile.ZipFile(file, "w", method) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + str(path.relative_to(folder)))


@pytest.fixture(scope="session")
def packed(corpora, make_once):
    """The real corpora: each in a zip of its own as downloads have them, all in a zip, in a tar, and unpacked."""
    return make_once("packed", lambda folder: pack(corpora, folder))


def pack(corpora, packed):
    packed.mkdir()
    (packed / "corpora").symlink_to(corpora)
    (packed / "each").mkdir()
    for folder in corpora.iterdir():
        # GitHub's archive of ESC-50 has the corpus' name inside, those of WavCaps do not
        prefix = f"{folder.name}/" if folder.name == "ESC-50-master" else ""
        zip_folder(folder, packed / "each" / f"{folder.name}.zip", prefix=prefix)
    zip_folder(corpora, packed / "all.zip", zipfile.ZIP_DEFLATED)
    with tarfile.open(packed / "all.tar", "w") as archive:
        archive.add(corpora, arcname=".")
