"""Compares dinoflow's retrieval, copy detection and video metrics with independent ones in numpy and OpenCV, on made cases, in one run.

    python tests/peers/metrics.py --dinoflow target/release/dinoflow

    retrieval   mAP and mP@1,5,10 of random features under random ground truths with junk, easy, medium and hard
    copy        mAP of random copies among distractors, over the first 20 ranks and over all
    video       J and F, their recall and decay, of random masks with several objects; empty, identical, moved and missing ones

Prints a table; the exit status is 1 when anything differs by more than 1e-6 (retrieval and copy: similarities are f32 sums).
"""

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from safetensors.numpy import save_file


def dinoflow(args, *words):
    command = [str(word) for word in (args.dinoflow, "eval", *words, "--json")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def area(hits, positives):
    """Trapezoids below precision over recall; hits are ranks from 0."""
    total = 0.0
    for found, rank in enumerate(sorted(hits)):
        before = found / rank if rank else 1.0
        total += (before + (found + 1) / (rank + 1)) / 2 / positives
    return total


def ranked(order, positive, junk):
    """Ranks of the positives when the junk is taken out."""
    kept = [image for image in order if image not in junk]
    return [rank for rank, image in enumerate(kept) if image in positive]


def retrieval(args, folder):
    for case, (images, queries, dim) in enumerate([(60, 7, 8), (300, 40, 16), (30, 5, 3), (50, 6, 4)]):
        draws = np.random.default_rng(case)
        database = draws.normal(size=(images, dim)).astype(np.float32)
        asked = draws.normal(size=(queries, dim)).astype(np.float32)
        truth = []
        for _ in range(queries):
            places = draws.permutation(images)
            cuts = np.sort(draws.integers(0, images // 3, 3))
            easy, hard, junk, _ = np.split(places, cuts)
            truth.append({"bbx": [0.0, 0.0, 1.0, 1.0], "easy": easy, "hard": list(map(int, hard)), "junk": junk})
        save_file({"cls": database}, folder / "database.safetensors")
        save_file({"cls": asked}, folder / "queries.safetensors")
        names = [f"image{i}" for i in range(images)]
        whole = {"imlist": names, "qimlist": names[:queries], "gnd": truth}
        (folder / "gnd_made.pkl").write_bytes(pickle.dumps(whole, protocol=2 + case))
        files = ["--features", folder / "database.safetensors", "--query-features", folder / "queries.safetensors"]
        ours = dinoflow(args, "retrieval", *files, "--ground-truth", folder / "gnd_made.pkl")
        order = np.argsort(-(unit(asked.astype(np.float64)) @ unit(database.astype(np.float64)).T), axis=1, kind="stable")
        for protocol in ("easy", "medium", "hard"):
            precisions, firsts = [], []
            for query, gnd in enumerate(truth):
                easy, hard, junk = set(map(int, gnd["easy"])), set(gnd["hard"]), set(map(int, gnd["junk"]))
                positive = {"easy": easy, "medium": easy | hard, "hard": hard}[protocol]
                junk = junk | {"easy": hard, "medium": set(), "hard": easy}[protocol]
                if not positive:
                    continue
                hits = ranked(order[query].tolist(), positive, junk)
                precisions.append(area(hits, len(positive)))
                places = np.array(hits) + 1
                firsts.append([np.sum(places <= min(places.max(), k)) / min(places.max(), k) for k in (1, 5, 10)])
            of = ours[protocol]
            yield f"retrieval {case}, {protocol}: mAP", of["map"], 100 * np.mean(precisions), 1e-6
            for k, mine, theirs in zip((1, 5, 10), of["precision"], 100 * np.mean(firsts, axis=0)):
                yield f"retrieval {case}, {protocol}: mP@{k}", mine, theirs, 1e-6


def copy(args, folder):
    draws = np.random.default_rng(9)
    originals = draws.normal(size=(157, 24))
    distractors = draws.normal(size=(2000, 24))
    blocks = draws.integers(0, 157, 229)
    copies = originals[blocks] + 1.2 * draws.normal(size=(229, 24))
    database = np.concatenate([originals, distractors]).astype(np.float32)
    labels = np.concatenate([np.arange(157), 1000 + np.arange(2000)])
    save_file({"cls": database, "labels": labels.astype(np.int64)}, folder / "originals.safetensors")
    save_file({"cls": copies.astype(np.float32), "labels": blocks.astype(np.int64)}, folder / "copies.safetensors")
    order = np.argsort(-(unit(copies.astype(np.float32).astype(np.float64)) @ unit(database.astype(np.float64)).T), axis=1)
    for depth in (20, 100000):
        files = ["--features", folder / "originals.safetensors", "--query-features", folder / "copies.safetensors"]
        ours = dinoflow(args, "copy", *files, "--depth", depth)
        found = [[r for r, i in enumerate(row[:depth]) if i == block] for row, block in zip(order, blocks)]
        yield f"copy, {depth} ranks: mAP", ours["map"], np.mean([area(hits, 1) for hits in found]), 1e-6


def outline(mask):
    """Pixels that differ from the one to the right, below, or both."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, corner = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    found = (mask != right) | (mask != below) | (mask != corner)
    # in the last row and column the corner is that of the one neighbour there is
    return found


def boundary(truth, found):
    reach = int(np.ceil(0.008 * np.linalg.norm(truth.shape)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x * x + y * y <= reach * reach).astype(np.uint8)
    of_truth, of_found = outline(truth), outline(found)
    wide = lambda line: cv2.dilate(line.astype(np.uint8), disk) > 0
    if not of_found.any() or not of_truth.any():
        precision = 0.0 if of_found.any() else 1.0
        recall = 0.0 if of_truth.any() else 1.0
    else:
        precision = (of_found & wide(of_truth)).sum() / of_found.sum()
        recall = (of_truth & wide(of_found)).sum() / of_truth.sum()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def region(truth, found):
    either = (truth | found).sum()
    return 1.0 if either == 0 else (truth & found).sum() / either


def course(values):
    values = np.array(values)
    ends = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(int)
    parts = [values[ends[i] : ends[i + 1] + 1] for i in range(4)]
    return values.mean(), (values > 0.5).mean(), parts[0].mean() - parts[3].mean()


def drawn(draws, height, width, objects, frames, void):
    """Disks with ragged borders that wander and sometimes leave."""
    y, x = np.mgrid[:height, :width]
    centres = draws.uniform(0, 1, (objects, 2)) * (height, width)
    masks = []
    for _ in range(frames):
        mask = np.zeros((height, width), np.uint8)
        centres = centres + draws.normal(size=(objects, 2)) * 6
        for number, (cy, cx) in enumerate(centres, 1):
            radius = draws.uniform(4, height / 4) * (draws.uniform() > 0.1)
            rough = radius * (1 + 0.2 * draws.normal(size=mask.shape))
            mask[(y - cy) ** 2 + (x - cx) ** 2 < rough**2] = number
        if void:
            mask[: height // 8, : width // 8] = 255
        masks.append(mask)
    return masks


def video(args, folder):
    draws = np.random.default_rng(4)
    sequences = {}
    for name, height, width, objects, frames, void in [
        ("one", 60, 90, 1, 9, False), ("three", 120, 214, 3, 14, False), ("void", 97, 61, 2, 7, True), ("short", 40, 40, 2, 3, False),
    ]:
        truth = drawn(draws, height, width, objects, frames, void)
        # so that every object is there at least once
        for number in range(objects):
            truth[0][height // 2, width // 2 + number] = number + 1
        moved = [np.roll(np.where(mask == 255, 0, mask), (draws.integers(-4, 5), draws.integers(-4, 5)), (0, 1)) for mask in truth]
        sequences[name] = (truth, moved)
    truth = sequences["three"][0]
    sequences["identical"] = (truth, [mask.copy() for mask in truth])
    sequences["empty"] = (truth, [np.zeros_like(mask) for mask in truth])
    sequences["nothing in it"] = ([truth[0]] + [np.zeros_like(mask) for mask in truth[1:]], [np.zeros_like(mask) for mask in truth])
    swapped = [np.choose(np.minimum(mask, 3), [0, 2, 1, 3]).astype(np.uint8) for mask in truth]
    sequences["two swapped"] = (truth, swapped)
    for name, (truth, found) in sequences.items():
        for kind, masks in (("true", truth), ("found", found)):
            (folder / kind / name).mkdir(parents=True)
            for frame, mask in enumerate(masks):
                image = Image.fromarray(mask, "P")
                image.putpalette([c for i in range(256) for c in (i, 255 - i, i // 2)])
                image.save(folder / kind / name / f"{frame:05}.png")
    ours = dinoflow(args, "video", "--score", folder / "found", folder / "true")
    everything = []
    for sequence in ours["sequences"]:
        truth, found = sequences[sequence["sequence"]]
        # of the first mask alone: what appears later is background, and so is what nobody decided on
        objects = int(np.where(truth[0] == 255, 0, truth[0]).max())
        assert objects == len(sequence["objects"]), sequence["sequence"]
        for number, scores in enumerate(sequence["objects"], 1):
            js, fs = [], []
            for t, f in list(zip(truth, found))[1:-1]:
                t, f = t == number, f == number
                js.append(region(t, f))
                fs.append(boundary(t, f))
            theirs = (*course(js), *course(fs))
            everything.append(theirs)
            for key, value in zip(("j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay"), theirs):
                yield f"video, {sequence['sequence']}, object {number}: {key}", scores[key], value, 1e-9
    means = np.mean(everything, axis=0)
    yield "video, all: J&F", ours["overall"]["jf_mean"], (means[0] + means[3]) / 2, 1e-9


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dinoflow", default="target/release/dinoflow")
    args = parser.parse_args()
    wrong = 0
    print(f"{'':48} {'dinoflow':>11} {'peer':>11} {'differs':>10}")
    for metric in (retrieval, copy, video):
        with tempfile.TemporaryDirectory() as folder:
            for what, ours, theirs, most in metric(args, Path(folder)):
                fits = abs(ours - theirs) <= most
                wrong += not fits
                print(f"{what:48} {ours:11.6f} {theirs:11.6f} {ours - theirs:10.1e}{'' if fits else '  TOO FAR'}")
    print("all agree" if wrong == 0 else f"{wrong} disagree")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
