import json
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from hive_datasets import verify_sources
from hive_datasets.cli import main as cli


def main(arguments):
    return cli.main(["verify", *arguments])


@pytest.fixture
def metadata(shared):
    return str(shared / "mini" / "hub")


def test_everything_is_there(metadata, corpora, capsys):
    assert main([metadata, "--dataset-paths", str(corpora), "--quiet"]) == 0
    output = capsys.readouterr()
    assert "total                     51     51" in output.out
    assert output.err == ""


def test_findings(metadata, corpora, tmp_path, capsys):
    roots = json.dumps({"ESC50": str(corpora / "ESC-50-master")})
    files = [tmp_path / name for name in ("report.csv", "page.html", "usable.parquet")]
    options = ["--report", files[0], "--html", files[1], "--write-index", files[2]]
    assert main([metadata, "--dataset-paths", roots, *map(str, options)]) == 1
    output = capsys.readouterr()
    assert "ESC-50" in output.out
    assert "31 findings written to" in output.err
    assert all(file.stat().st_size for file in files)
    assert pq.read_table(files[2]).column_names == ["split", "mix_id"]


def test_json(metadata, corpora, tmp_path, capsys):
    assert main([metadata, "--dataset-paths", str(corpora), "--format", "json", "--split", "test", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(json.dumps(verify_sources(metadata, corpora, splits=["test"]).to_dict()))
    assert report["mixtures"] == {"total": 8, "usable": 8}
    assert main([metadata, "--dataset-paths", '{"AVE": "/nowhere"}', "--format", "json", "--corpus", "esc50"]) == 1
    report = json.loads(capsys.readouterr().out)  # all of it, findings or not
    assert report["clean"] is False
    assert report["corpora"][0]["missing"] == 20
    assert report["next_steps"][0]["corpus"] == "ESC-50-master"


def test_the_report_comes_first_and_each_file_for_itself(metadata, corpora, tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "folder.html").mkdir()
    files = [tmp_path / "file" / "report.csv", tmp_path / "folder.html", tmp_path / "usable.parquet"]
    options = ["--report", files[0], "--html", files[1], "--write-index", files[2]]
    assert main([metadata, "--dataset-paths", str(corpora), "--quiet", *map(str, options)]) == 2
    output = capsys.readouterr()
    assert "total" in output.out
    assert f"findings cannot be written to {files[0]}" in output.err
    assert f"page cannot be written to {files[1]}" in output.err
    assert f"64 usable mixtures written to {files[2]}" in output.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--check", "listen"], "invalid choice: 'listen'"),
        (["--corpus", "nonsense"], "there is no mixture with sources of nonsense"),
        (["--corpus", "Audioest"], "of Audioest (did you mean AudioSet?)"),
        (["--split", "trian"], "of split trian (did you mean 'train'?)"),
        (["--split", "test", "a/b"], "'a/b' is a path, no name: METADATA comes before the options"),
        (["--lable", "Dog"], "unrecognized arguments: --lable Dog. Did you mean --label?"),
        (["--num-workers", "0"], "at least 1"),
        (["--dataset-paths", ""], "is empty"),
        (["--corpus", "ESC50", "--write-index", "a.parquet"], "needs all corpora"),
        (["--write-index", "a.csv"], "must end with .parquet"),
        (["--html", "a.csv"], "must end with .html"),
        (["--report", "a.txt"], "must end with .jsonl or .csv or .parquet"),
        (["--split", "nonsense"], "there is no mixture of split nonsense"),
        (["--dataset-paths", "/no/such/folder"], "--dataset-paths: /no/such/folder does not exist"),
    ],
)
def test_mistakes_are_2(metadata, corpora, arguments, says, capsys):
    paths = [] if "--dataset-paths" in arguments else ["--dataset-paths", str(corpora)]
    try:
        code = main([metadata, *paths, *arguments])
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert says in capsys.readouterr().err


def test_no_metadata_and_no_roots_are_2(tmp_path, corpora, capsys):
    assert main([str(tmp_path / "nowhere"), "--dataset-paths", str(corpora)]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert main([str(corpora.parent / "mini" / "hub")]) == 2
    assert "no source roots are configured" in capsys.readouterr().err


def test_progress_goes_to_standard_error_with_rate_and_time_left(metadata, corpora, subprocess_environment):
    code = "import sys; from hive_datasets_commands import verify_sources; sys.exit(verify_sources())"
    command = [sys.executable, "-c", code, metadata, "--dataset-paths", str(corpora), "--check", "decode"]
    command += ["--split", "test", "--corpus", "AudioSet", "ESC50"]
    done = subprocess.run(command, env=subprocess_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for step in ("reading metadata", "locating files", "checking files (decode)"):
        assert step in done.stderr
        assert step not in done.stdout
    assert "12/12" in done.stderr
    assert "files/s" in done.stderr


def test_a_reader_that_leaves_early(metadata, corpora, tmp_path, subprocess_environment):
    code = "import sys; from hive_datasets_commands import verify_sources; sys.exit(verify_sources())"
    command = [
        sys.executable,
        "-c",
        code,
        metadata,
        "--dataset-paths",
        str(corpora),
        "--html",
        str(tmp_path / "a.html"),
    ]
    process = subprocess.Popen(
        command, env=subprocess_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0, errors
    assert "BrokenPipe" not in errors
    assert (tmp_path / "a.html").exists()


SLOW = """
import sys
from hive_datasets_commands import verify_sources as main
from hive_datasets.verification import verify
check, count = verify.check_header, 0
def slow(located):
    global count
    count += 1
    if count > 10:
        print("ready", flush=True)
        sys.stdin.readline()
    return check(located)
verify.check_header = slow
sys.exit(main())
"""


def test_ctrl_c_keeps_what_was_verified(metadata, corpora, subprocess_environment, tmp_path):
    subprocess_environment["HF_ASSETS_CACHE"] = str(tmp_path)  # where nothing is remembered yet
    command = [
        sys.executable,
        "-c",
        SLOW,
        metadata,
        "--dataset-paths",
        str(corpora),
        "--check",
        "header",
        "--num-workers",
        "1",
    ]
    process = subprocess.Popen(
        command,
        env=subprocess_environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "what was verified is kept: run it again to go on" in errors
    checked = 10 + 1 + output.count("ready")
    code = SLOW.replace("count > 10", "True")
    again = subprocess.run(
        [command[0], "-c", code, *command[3:]],
        env=subprocess_environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 1, again.stderr  # VoiceBank is at another rate
    assert again.stdout.count("ready") == 51 - checked
