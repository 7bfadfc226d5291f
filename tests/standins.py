"""Stand-in videos: the real names and folders of a data set, tiny drawn pictures inside.

For trying a board whose videos are not at hand: every list, path, subset and command is the real one, and
only the pictures are made up.

    python -m tests.standins ucf101 /tmp/standins/ucf101
    kdbench data prepare ucf101 --videos /tmp/standins/ucf101 --board tests/boards/standins.toml
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np

from kdbench.registry import load_registry

VARIANTS = 64  # different pictures; each video is a copy of one of them
FRAMES, WIDTH, HEIGHT = 50, 64, 48


def draw(path: Path, variant: int) -> None:
    """Write one AVI: a bright square that crosses a grey picture, its way told by the variant."""
    angle = 2 * np.pi * variant / VARIANTS
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in range(FRAMES):
            picture = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
            x = int(WIDTH / 2 + 20 * np.cos(angle) * np.sin(frame / 4))
            y = int(HEIGHT / 2 + 15 * np.sin(angle) * np.sin(frame / 4))
            picture[y - 4 : y + 4, x - 4 : x + 4] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def write_standins(name: str, root: Path) -> int:
    """Write every video of a data set under its official path; how many there are. Files that exist are kept."""
    dataset = load_registry().get("datasets", name).make({}, root)
    pictures = root.with_name(f"{root.name}-pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    for variant in range(VARIANTS):
        draw(pictures / f"{variant}.avi", variant)
    bytes_of = [(pictures / f"{variant}.avi").read_bytes() for variant in range(VARIANTS)]
    for number, video in enumerate(dataset.videos):
        path = root / video.paths[0]
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes_of[(7 * video.label + number) % VARIANTS])
    return len(dataset.videos)


if __name__ == "__main__":
    print(write_standins(sys.argv[1], Path(sys.argv[2])), "videos")
