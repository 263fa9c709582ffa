"""Video files, made by PyAV."""

import av
import numpy as np


def write_video(file, frames, rate, codec="aac", picture=True, delay=0):
    """A video with a picture and sound: int16 frames of shape (n, channels), after a gap of `delay` frames."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        layout = "stereo" if frames.shape[1] == 2 else "mono"
        sound = container.add_stream(codec, rate=rate, layout=layout)
        if picture:
            video = container.add_stream("mpeg4", rate=25)
            video.width = video.height = 32
            for _ in range(5):
                image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux(video.encode(image))
            container.mux(video.encode(None))
        position = delay
        for start in range(0, len(frames), 1024):
            block = frames[start : start + 1024]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block).reshape(1, -1), format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate, position
            position += len(block)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return file
