"""What was written, read back."""

import io
import tarfile

import soundfile

from hive_datasets.recipe.tables import table_from_recipes
from hive_datasets.recipe.writing import JsonFileWriter, write_recipes


def shards_of(folder):
    """The files of a folder, but for hidden ones, by name."""
    files = (file for file in folder.rglob("*") if file.is_file())
    names = {str(file.relative_to(folder)): file for file in files}
    return {name: file for name, file in sorted(names.items()) if not name.startswith(".")}


def contents_of(folder):
    return {name: file.read_bytes() for name, file in shards_of(folder).items()}


def read_tar(file):
    """As the authors' reader: members in turn, a sample as long as the prefix stays."""
    samples = {}
    with tarfile.open(file) as tar:
        for member in tar:
            prefix, name = member.name.split(".", 1)
            samples.setdefault(prefix, {})[name] = tar.extractfile(member).read()
    return samples


def read_audio(data):
    return soundfile.read(io.BytesIO(data), dtype="float64")


def write_metadata(recipes, file):
    write_recipes([table_from_recipes(recipes)], JsonFileWriter(file))
    return file


def by_id(recipes):
    return {(recipe.split, recipe.mix_id): recipe for recipe in recipes}
