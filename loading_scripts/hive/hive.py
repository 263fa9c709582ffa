"""Loading script for ``datasets`` 3.6, the last release that runs such scripts.

    load_dataset("path/to/loading_scripts/hive", "demo", trust_remote_code=True)

takes the same configurations and options as ``load_dataset("hive", ...)`` does after ``import hive_datasets``. All
that it needs is ``pip install hive-datasets``. From ``datasets`` 4.0 on, import the library instead. Keep this
script out of a dataset repository on the Hub: there it breaks loading for everyone else.
"""

import hive_datasets.dataset.builder


class Hive(hive_datasets.dataset.builder.Hive):
    """Hive, rendered on the fly from its metadata."""
