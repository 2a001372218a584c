"""Times decode + DINO's ten crops with AlbumentationsX and OpenCV, one process, one thread.

usage: albumentations_augment.py FOLDER_OF_JPEGS [COUNT]
needs: pip install albumentationsx opencv-python-headless numpy torch (which AlbumentationsX wants to be there, from 2.5 on)

OpenCV's bicubic does not widen its kernel when it shrinks, as Pillow's and dinoflow's do: it reads 16 pixels of the picture for each
of the crop's and lets the rest alias, so it has less to do.
"""
import sys
import time
from pathlib import Path

import albumentations as A
import cv2
import numpy as np

cv2.setNumThreads(1)


def view(size, scale, blur, solarize=0.0):
    return A.Compose([
        A.RandomResizedCrop((size, size), scale=scale, ratio=(3 / 4, 4 / 3), interpolation=cv2.INTER_CUBIC),
        A.HorizontalFlip(p=0.5),
        A.ColorJitter(brightness_range=(0.6, 1.4), contrast_range=(0.6, 1.4), saturation_range=(0.8, 1.2), hue_range=(-0.1, 0.1), p=0.8),
        A.ToGray(p=0.2),
        A.GaussianBlur(sigma_range=(0.1, 2.0), p=blur),
        A.Solarize(threshold_range=(0.5, 0.5), p=solarize),
        A.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    ], seed=0)


def decode(data):
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def planes(crop):
    """Channels first, as the other programs leave their crops."""
    return np.ascontiguousarray(crop.transpose(2, 0, 1))


views = [view(224, (0.4, 1.0), 1.0), view(224, (0.4, 1.0), 0.1, 0.2)] + [view(96, (0.05, 0.4), 0.5)] * 8
count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
files = sorted(p for p in Path(sys.argv[1]).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))[:count]
data = [np.fromfile(f, np.uint8) for f in files]
for bytes_ in data[:5]:
    crops = [planes(v(image=decode(bytes_))["image"]) for v in views]
assert [c.shape for c in crops] == [(3, 224, 224)] * 2 + [(3, 96, 96)] * 8 and crops[0].dtype == np.float32

start = time.perf_counter()
images = [decode(bytes_) for bytes_ in data]
decoded = time.perf_counter()
for image in images:
    for v in views:
        planes(v(image=image)["image"])
end = time.perf_counter()
n = len(files)
print(f"AlbumentationsX {A.__version__}: {n} pictures, decode {(decoded - start) / n * 1e3:.2f} ms, "
      f"ten crops {(end - decoded) / n * 1e3:.2f} ms, {n / (end - start):.1f} images/s on one core")
