import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

EXAMPLE = Path(__file__).parents[2] / "examples" / "curate.py"


def test_the_whole_chain(demo, tmp_path, subprocess_environment):
    """Every sound alone is found to be one, and what it is; pairs and the file that is lost are dropped."""
    environment = {**subprocess_environment, "PYTHONWARNINGS": "default"}
    command = [sys.executable, EXAMPLE, tmp_path]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300).stdout
    assert "dropped: unreadable" in out and "dropped: several labels" in out and "dropped: score below 0.9" in out
    assert "12 of 24 mixtures are the better half" in out
    (file,) = (tmp_path / "curated" / "kept").glob("*.parquet")
    kept = pq.read_table(file).to_pylist()
    labels = {row["provenance"]["file"].rpartition("/")[2]: row["labels"] for row in kept}
    assert labels["demo-bird.flac"] == ["Chirp, tweet"] and labels["demo-harp.wav"] == ["Harp"]
    assert len([name for name in labels if name.startswith("demo")]) > 15
    assert (tmp_path / "curated" / "examples.html").stat().st_size > 100_000
