"""Times decode + DINO's ten crops with DALI's CPU pipeline, one thread.

usage: dali_augment.py FOLDER_OF_JPEGS [COUNT]
needs: pip install nvidia-dali-cuda120 numpy (no GPU)

In DALI's favour: the four color operations and grey are one pass in a fixed order, contrast turns around mid-grey instead of each
picture's mean, and mirroring is part of the normalisation.
"""
import sys
import time
from pathlib import Path

import numpy as np
from nvidia import dali
from nvidia.dali import fn, pipeline_def, types

MEAN = [255 * x for x in (0.485, 0.456, 0.406)]
DEVIATION = [255 * x for x in (0.229, 0.224, 0.225)]
BATCH = 20


def coin(p):
    return fn.random.coin_flip(probability=p)


def between(low, high):
    return fn.random.uniform(range=[low, high])


def around_one(jitter, strength):
    """A factor within 1 ± strength where the jitter was drawn, 1 elsewhere."""
    return 1.0 + jitter * (between(1.0 - strength, 1.0 + strength) - 1.0)


@pipeline_def(enable_conditionals=True)
def ten_crops(batches):
    images = fn.decoders.image(fn.external_source(source=batches, batch=True), device="cpu", output_type=types.RGB)
    crops = []
    for size, scale, blur, solarize in [(224, (0.4, 1.0), 1.0, 0.0), (224, (0.4, 1.0), 0.1, 0.2)] + [(96, (0.05, 0.4), 0.5, 0.0)] * 8:
        x = fn.random_resized_crop(images, size=[size, size], random_area=list(scale), random_aspect_ratio=[3 / 4, 4 / 3],
                                   interp_type=types.INTERP_CUBIC, antialias=True)
        jitter = coin(0.8)
        x = fn.color_twist(x, brightness=around_one(jitter, 0.4), contrast=around_one(jitter, 0.4),
                           saturation=around_one(jitter, 0.2) * (1.0 - coin(0.2)), hue=jitter * between(-36.0, 36.0))
        if coin(blur):
            x = fn.gaussian_blur(x, sigma=between(0.1, 2.0))
        if solarize > 0.0:
            if coin(solarize):
                # 255 - x of eight bits is x with each bit turned
                x = x ^ (fn.cast(x >= np.uint8(128), dtype=types.UINT8) * np.uint8(255))
        crops.append(fn.crop_mirror_normalize(x, mirror=coin(0.5), mean=MEAN, std=DEVIATION, dtype=types.FLOAT, output_layout="CHW"))
    return tuple(crops)


count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
files = sorted(p for p in Path(sys.argv[1]).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))[:count]
data = [np.fromfile(f, np.uint8) for f in files]
batches = [data[i:i + BATCH] for i in range(0, len(data), BATCH)]


def endless():
    while True:
        yield from batches


# nothing runs ahead of what is timed: each run is one batch, from bytes to crops
pipe = ten_crops(endless(), batch_size=BATCH, num_threads=1, device_id=None, prefetch_queue_depth=1,
                 exec_async=False, exec_pipelined=False, seed=0)
pipe.build()
shapes = [out.as_tensor().shape()[1:] for out in pipe.run()] if len(batches[0]) == BATCH else []
assert [tuple(s) for s in shapes] in ([], [(3, 224, 224)] * 2 + [(3, 96, 96)] * 8), shapes
for _ in batches[1:]:
    pipe.run()

start = time.perf_counter()
for _ in batches:
    pipe.run()
seconds = time.perf_counter() - start
n = len(files)
print(f"DALI {dali.__version__} on the CPU: {n} pictures, {seconds / n * 1e3:.2f} ms each, {n / seconds:.1f} images/s on one core")
