"""The package as a whole: what importing costs, and what it offers."""

import importlib
import subprocess
import sys

import hive_datasets


def test_all_is_honest():
    public = {
        name for name, value in vars(hive_datasets).items() if getattr(value, "__module__", "").startswith("hive_")
    }
    public -= {"register_hive", "register_mixture", "__getattr__", "__dir__"}
    assert public <= set(hive_datasets.__all__)
    assert all(hasattr(hive_datasets, name) for name in hive_datasets.__all__)
    assert sorted(hive_datasets.__all__) == sorted(set(hive_datasets.__all__))
    for name in hive_datasets.__all__:
        assert name == "__version__" or getattr(hive_datasets, name).__doc__


def test_import_is_light(subprocess_environment):
    code = """
        import datasets, sys
        before = set(sys.modules)
        import hive_datasets
        print(*(set(sys.modules) - before))
    """
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(line.strip() for line in code.splitlines())],
        env={**subprocess_environment, "USE_TORCH": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert not loaded & {"torch", "librosa", "matplotlib", "scipy", "transformers"}


def test_importing_again_changes_nothing():
    import datasets.load

    factory = datasets.load.dataset_module_factory
    importlib.reload(hive_datasets)
    assert datasets.load.dataset_module_factory is factory
