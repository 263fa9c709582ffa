"""Corpora as parquet with audio in it, in the layouts that writers have made of it over the years."""

import pyarrow as pa
import pyarrow.parquet as pq

#: What `datasets` up to 4.0 wrote; from 4.1; since 5.2, with content-defined chunks and without.
LAYOUTS = {
    "dictionary": {"row_group_size": 4},
    "pages": {"row_group_size": 4, "use_content_defined_chunking": True, "write_page_index": True},
    "plain pages": {"use_content_defined_chunking": True, "write_page_index": True, "use_dictionary": False},
    "one plain page": {"row_group_size": 4, "use_dictionary": False},
    "small pages": {"write_batch_size": 1, "compression": "zstd"},  # and no index of them
    "second version": {"data_page_version": "2.0", "write_batch_size": 1, "write_page_index": True},
}
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(file, names, contents, layout, column="file", audio="audio", paths=True):
    """A file of parquet with a row a clip: its name, and the audio with or without a path."""
    rows = [{"bytes": data, "path": name if paths else None} for name, data in zip(names, contents, strict=True)]
    table = pa.table({column: list(names), audio: pa.array(rows, AUDIO), "labels": [["a", "b"]] * len(rows)})
    options = dict(LAYOUTS[layout])
    if "plain" in layout:
        options["compression"] = {f"{audio}.bytes": "NONE"}
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, **options)
    return file


def write_corpus(folder, to, layout):
    """A corpus as a root of parquet: AudioSet, ESC-50 and VoiceBank as the Hub has them, others by audio.path."""
    files = sorted(file for file in folder.rglob("*.*") if file.is_file())
    contents = [file.read_bytes() for file in files]
    if folder.name == "AudioSet":
        half = len(files) // 2
        for number, part in enumerate([slice(0, half), slice(half, None)]):
            stems = [file.stem for file in files[part]]
            write(to / f"data/unbal_train/{number:03}.parquet", stems, contents[part], layout, "video_id")
        write(to / "data/eval/00.parquet", [files[0].stem], [b"another recording"], layout, "video_id")
        (to / "README.md").write_text("# AudioSet")
    elif folder.name == "Voicebank_DEMAND":
        names = [file.name for file in files]
        file = write(to / "data/train-00000-of-00001.parquet", names, contents, layout, audio="clean")
        table = pq.read_table(file)
        noisy = pa.array([{"bytes": b"noise", "path": name} for name in names], AUDIO)
        pq.write_table(table.append_column("noisy", noisy), file)
    elif folder.name == "ESC-50-master":
        write(to / "data/train.parquet", [file.name for file in files], contents, layout, "filename", paths=False)
    else:
        write(to / "0000.parquet", [str(file) for file in files], contents, layout)
    return to
