#!/usr/bin/env python3
"""Reads a run's event files as TensorBoard does and holds them against the run's own record.

    python tests/peers/tensorboard.py runs/quickstart

It needs the package `tensorboard`. It says what it found, and ends with status 1 when a scalar is missing, twice there or another
than in metrics.jsonl, when a picture is no PNG of its size, or when a histogram does not count its numbers.
"""

import json
import pathlib
import struct
import sys

# this file has the package's name, and its folder is looked in first
sys.path.pop(0)

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVERYTHING = {"scalars": 0, "images": 0, "histograms": 0}


def expected(folder):
    """The scalars of metrics.jsonl, by tag: a list of (step, value)."""
    series = {}
    for line in open(folder / "metrics.jsonl"):
        line = json.loads(line)
        event, step = line.pop("event"), line.pop("step")
        line.pop("epoch", None)
        if event == "step":
            tags = {key: value for key, value in line.items() if value is not None}
        elif event == "knn":
            place = f"{line['network']}/{line['k']}"
            tags = {f"knn/{place}": line["top1"], f"knn_top5/{place}": line["top5"]}
        else:
            tags = {f"{event}/{line['network']}/{k}": v for k, v in line.items() if isinstance(v, float)}
        for tag, value in tags.items():
            series.setdefault(tag, []).append((step, value))
    return series


def main(folder):
    board = EventAccumulator(str(folder / "tensorboard"), size_guidance=EVERYTHING)
    board.Reload()
    tags, wrong = board.Tags(), []
    series = expected(folder)
    if set(series) != set(tags["scalars"]):
        wrong.append(f"scalars that are in one of the two alone: {sorted(set(series) ^ set(tags['scalars']))}")
    for tag, values in series.items():
        found = [(e.step, e.value) for e in board.Scalars(tag)] if tag in tags["scalars"] else []
        rounded = [(step, struct.unpack("f", struct.pack("f", value))[0]) for step, value in values]
        if found != rounded:
            wrong.append(f"{tag}: {len(found)} values, {len(rounded)} in the record, or others")
    pictures = {tag: board.Images(tag) for tag in tags["images"]}
    for tag, images in pictures.items():
        for image in images:
            width, height = struct.unpack(">II", image.encoded_image_string[16:24])
            png = image.encoded_image_string[:8] == b"\x89PNG\r\n\x1a\n"
            if not png or (width, height) != (image.width, image.height):
                wrong.append(f"{tag} at step {image.step} is no PNG of its size")
        steps = [image.step for image in images]
        if steps != sorted(set(steps)):
            wrong.append(f"{tag} is twice there: {steps}")
    for tag in tags["histograms"]:
        steps = [e.step for e in board.Histograms(tag)]
        if steps != sorted(set(steps)):
            wrong.append(f"{tag} is twice there: {steps}")
        for event in board.Histograms(tag):
            spread = event.histogram_value
            if sum(spread.bucket) != spread.num or spread.bucket_limit != sorted(spread.bucket_limit):
                wrong.append(f"{tag} at step {event.step} does not count its numbers")
    files = len(list((folder / "tensorboard").glob("events.out.tfevents.*")))
    print(f"{files} event files, {len(series)} scalars, of which loss has {len(series.get('loss', []))} steps")
    for tag, images in pictures.items():
        print(f"pictures {tag}: steps {[image.step for image in images]}, {images[-1].width} x {images[-1].height}")
    groups = tags["histograms"]
    if groups:
        print(f"{len(groups)} histograms, {groups[0]} at steps {[e.step for e in board.Histograms(groups[0])]}")
    print("\n".join(wrong) if wrong else "as the record has it")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1])))
