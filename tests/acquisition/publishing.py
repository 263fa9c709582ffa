"""Corpora as they are published, on servers of this machine, with the real layouts and small files."""

import hashlib
import json
import shutil
import subprocess
import zipfile

import soundfile

from tests.sources.test_packed import pack
from tests.sources.videos import write_video


def publish(corpora, folder):
    """Publish some of the shared corpora below a folder; the registry's entries, {address} being the server's."""
    entries = []
    for publish_one in (
        publish_esc,
        publish_clotho,
        publish_fsd,
        publish_soundbible,
        publish_voicebank,
        publish_vggsound,
    ):
        entries.append(publish_one(corpora, folder))
    return entries


def write_registry(entries, address, file):
    """A registry for ``HIVE_PUBLISHED``."""
    file.write_text(json.dumps(entries).replace("{address}", address))
    return file


def entry(corpus, access, files, **more):
    own = {"corpus": corpus, "host": "web", "access": access, "address": "{address}/", "files": files}
    return {**own, "clips": 10, "bytes": 10_000_000, **more}


def publish_esc(corpora, folder):
    """One zip, as GitHub packs it on demand."""
    file = folder / "master.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((corpora / "ESC-50-master").rglob("*.wav")):
            archive.write(path, f"ESC-50-master/audio/{path.name}")
    return entry("ESC50", "whole", [{"name": "master.zip", "md5": "0" * 32, "is_packed_on_demand": True}])


def publish_clotho(corpora, folder):
    """A 7z for each split, with its checksum."""
    files = []
    for split in ("development", "evaluation"):
        paths = sorted((corpora / "clotho_v2" / split).rglob("*.wav"))
        members = {f"{split}/{path.name}": path.read_bytes() for path in paths} or {"development/none.wav": b"none"}
        file = pack(members, folder / f"clotho_audio_{split}.7z")
        digest = hashlib.md5(file.read_bytes()).hexdigest()
        files.append({"name": file.name, "bytes": file.stat().st_size, "md5": digest, "holds": f"{split}/"})
    return entry("ClothoV2", "whole", files)


def publish_fsd(corpora, folder):
    """A zip in parts, stored and deflated."""
    (folder / "fsd").mkdir()
    command = ["zip", "-q", "-r", "-s", "64k", folder / "fsd" / "FSD50K.dev_audio.zip", "FSD50K.dev_audio"]
    subprocess.run(command, cwd=corpora / "FSD50K", check=True)
    return entry("FSD50K", "ranges", [{"name": "fsd/FSD50K.dev_audio.zip"}])


def publish_soundbible(corpora, folder):
    """Single files."""
    shutil.copytree(corpora / "SoundBible", folder / "single" / "SoundBible")
    return entry("SoundBible", "ranges", [{"name": "single/SoundBible"}])


def publish_voicebank(corpora, folder):
    """A zip that is not in parts, at an address of its own."""
    (folder / "bitstreams").mkdir()
    with zipfile.ZipFile(folder / "bitstreams" / "download", "w") as archive:
        for path in sorted((corpora / "Voicebank_DEMAND").rglob("*.wav")):
            archive.write(path, path.relative_to(corpora / "Voicebank_DEMAND"))
    address = "{address}/bitstreams/download"  # as Edinburgh's has no name either
    return entry("Voicebank_DEMAND", "ranges", [{"name": "clean_trainset_28spk_wav.zip", "address": address}])


def publish_vggsound(corpora, folder):
    """Two tars of video, of two of the clips of the real rows."""
    files = []
    for number, name in enumerate(["U1_VO9VcG8E_000072", "w3LZPF9g_LQ_000080"]):
        path = corpora / "vggsound" / "wav" / f"{name}.wav"
        frames, rate = soundfile.read(path, dtype="int16", always_2d=True)
        video = write_video(folder / "aside" / f"{path.stem}.mp4", frames, rate)
        member = f"scratch/shared/beegfs/hchen/train_data/VGGSound_final/video/{video.name}"
        files.append({"name": pack({member: video.read_bytes()}, folder / f"vggsound_{number:02}.tar.gz").name})
    return entry("VGGSound", "whole", files, is_video=True)
