import json
import os
import shutil
from pathlib import Path

import datasets
import fsspec
import huggingface_hub
import pytest
from filelock import FileLock
from hypothesis import settings

import hive_datasets
from hive_datasets.sources import servers
from tests.copies import linked_copy
from tests.damage import damage_of_every_kind

settings.register_profile("steady", deadline=None, derandomize=True)  # no test may fail by chance
settings.load_profile("steady")

CHROMIUM_FLAGS = """
--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update
--disable-sync
""".split()  # noqa: SIM905
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def assets(tmp_path_factory):
    """Indexes, blocks and the demo are made anew for each run of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("assets"))
        patch.setattr(huggingface_hub.constants, "HF_ASSETS_CACHE", folder)
        yield folder


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch, tmp_path):
    """Tests see no roots but those they configure, and no tables but those they cache."""
    monkeypatch.delenv("HIVE_DATASET_PATHS", raising=False)
    monkeypatch.delenv("HIVE_PREPARED", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name in ("_FIRST_PAUSE", "_LONGEST_PAUSE"):  # before a server that fails is asked again
        monkeypatch.setattr(servers, name, 0.001)


@pytest.fixture(scope="session")
def shared():
    """Real rows and real audio in the real folder layouts."""
    if not SHARED.is_dir():
        pytest.skip("the shared data is absent")
    return SHARED


@pytest.fixture(scope="session")
def corpora(shared):
    return shared / "corpora"


@pytest.fixture(scope="session")
def make_once(tmp_path_factory):
    """A folder that one of the processes in which the tests run makes for all; nobody may change it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make_once(name, make):
        with FileLock(shared / f"{name}.lock"):
            if not (shared / name).exists():
                make(shared / name)
        return shared / name

    return make_once


@pytest.fixture(scope="session")
def pristine(corpora, make_once):
    """The corpora on the disk of the temporary folders, where files can be linked."""
    return make_once("pristine", lambda folder: shutil.copytree(corpora, folder))


@pytest.fixture
def copy(pristine, tmp_path):
    """A copy of the corpora, to change (a file that is written into must be its `own` first)."""
    with linked_copy(pristine, tmp_path / "copy") as folder:
        yield folder


@pytest.fixture
def damaged(copy, mini):
    """A copy in which something of every kind is wrong, and the status of each such file."""
    return copy, damage_of_every_kind(copy, mini)


@pytest.fixture(scope="session")
def hive_rows(shared):
    return json.loads((shared / "hive_rows.json").read_text())


@pytest.fixture(scope="session")
def mini(shared):
    return list(hive_datasets.read_recipes(shared / "mini" / "hub"))


@pytest.fixture(scope="session")
def mini_mixes(mini, corpora):
    """The mixtures of `mini`, from folders."""
    mixer = hive_datasets.Mixer(corpora)
    return [mixer(recipe)["mix"] for recipe in mini]


@pytest.fixture(scope="session")
def prepared(corpora, shared, make_once):
    """A folder with the sources of `mini`, prepared in several shards."""
    options = {"dataset_paths": corpora, "shard_bytes": 2_000_000}
    return make_once("prepared", lambda to: hive_datasets.prepare_sources(shared / "mini" / "hub", to, **options))


@pytest.fixture
def prepared_copy(prepared, tmp_path):
    """A copy of the prepared sources, to change, as `copy`."""
    with linked_copy(prepared, tmp_path / "prepared") as folder:
        yield folder


@pytest.fixture(scope="session")
def demo():
    return hive_datasets.demo_folder()


@pytest.fixture(scope="session")
def demo_recipes(demo):
    return list(hive_datasets.read_recipes(demo / "metadata" / "train"))


@pytest.fixture
def row(demo_recipes):
    """A valid row: two sources, in the schema's shape."""
    return json.loads(demo_recipes[0].to_json())


@pytest.fixture
def cache(tmp_path):
    """A cache folder for `load_dataset(cache_dir=)`."""
    return str(tmp_path / "cache")


@pytest.fixture(scope="module")
def chromium():
    """A browser without a window."""
    api = pytest.importorskip("playwright.sync_api")
    command = shutil.which("chromium") or shutil.which("google-chrome")
    if command is None:
        pytest.skip("there is no Chromium (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=command, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def subprocess_environment(assets, tmp_path):
    """The environment for a fresh interpreter with a cache of tables of its own."""
    own = {"HF_HOME": str(tmp_path / "hf"), "HF_ASSETS_CACHE": assets}
    return {**os.environ, **own, "PYTHONWARNINGS": "error"}


@pytest.fixture(scope="session")
def s3():
    """An S3 server with an empty bucket "hive"."""
    pytest.importorskip("moto")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        filesystem = fsspec.filesystem("s3", skip_instance_cache=True)
        filesystem.mkdir("hive")
        yield filesystem
    server.stop()
