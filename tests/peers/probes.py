"""Compares dinoflow's probes with scikit-learn and PyTorch on the same features, in one run.

    python tests/peers/probes.py --dinoflow target/release/dinoflow --data data/cifar10 [--run RUN] [--train 3000] [--val 2000]

Features are those of `dinoflow features` of a run where one is given, else random convolutions of the pictures.

    logistic    accuracy, objective and scores against sklearn.linear_model.LogisticRegression, for several C, and C's choice
    linear      accuracy of each learning rate against torch.nn.Linear under torch.optim.SGD, the same batches in the same order

Prints a table; the exit status is 1 when anything differs by more than it may.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(z):
    """SplitMix64's finaliser."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class Key:
    """dinoflow's keyed draws, written anew from their description: words folded into 64 bits, then SplitMix64."""

    def __init__(self, seed):
        self.state = mix((seed + GOLDEN) & MASK)

    def word(self, word):
        key = Key(0)
        turned = ((self.state << 23) | (self.state >> 41)) & MASK
        key.state = mix(turned ^ mix((word + GOLDEN) & MASK))
        return key

    def named(self, name):
        value = 0xCBF29CE484222325
        for byte in name.encode():
            value = ((value ^ byte) * 0x100000001B3) & MASK
        return self.word(value)

    def bits(self):
        self.state = (self.state + GOLDEN) & MASK
        return mix(self.state)

    def unit(self):
        return (self.bits() >> 11) / (1 << 53)

    def below(self, bound):
        while True:
            wide = self.bits() * bound
            low = wide & MASK
            if low >= bound or low >= ((1 << 64) - bound) % bound:
                return wide >> 64

    def normal(self):
        radius = np.sqrt(-2.0 * np.log(1.0 - self.unit()))
        return radius * np.cos(2.0 * np.pi * self.unit())

    def shuffle(self, items):
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items


def pictures(root, most, seed):
    """Some pictures of a folder of classes, the same number of each, as (n, 3, 32, 32) and labels."""
    classes = sorted(path for path in root.iterdir() if path.is_dir())
    draws = np.random.default_rng(seed)
    pixels, labels = [], []
    for label, folder in enumerate(classes):
        files = sorted(folder.iterdir())
        for at in draws.permutation(len(files))[: most // len(classes)]:
            image = Image.open(files[at]).convert("RGB").resize((32, 32))
            pixels.append(np.asarray(image, np.float32).transpose(2, 0, 1) / 255.0 - 0.5)
            labels.append(label)
    return torch.tensor(np.stack(pixels)), np.array(labels, np.int64)


def random_features(pixels, filters):
    """Random patches of pictures as filters, rectified, pooled to 2 x 2."""
    out = []
    for part in pixels.split(256):
        maps = torch.relu(torch.nn.functional.conv2d(part, filters, stride=1) - 0.5)
        out.append(torch.nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1))
    return torch.cat(out).numpy().astype(np.float32)


def make_features(args, folder):
    train, val = folder / "train.safetensors", folder / "val.safetensors"
    if args.run:
        for name, path in [("train", train), ("test", val)]:
            command = [args.dinoflow, "features", args.data / name, "--weights", args.run, "-o", path]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        keep(train, args.train)
        keep(val, args.val)
    else:
        pixels, labels = pictures(args.data / "train", args.train, 0)
        of_val, val_labels = pictures(args.data / "test", args.val, 1)
        draws = np.random.default_rng(2)
        corners = draws.integers(0, 26, (96, 2))
        chosen = draws.integers(0, len(pixels), 96)
        filters = torch.stack([pixels[i][:, y : y + 6, x : x + 6] for i, (y, x) in zip(chosen, corners)])
        filters = filters - filters.mean((1, 2, 3), keepdim=True)
        filters = filters / filters.flatten(1).norm(dim=1)[:, None, None, None]
        save_file({"cls": random_features(pixels, filters), "labels": labels}, train)
        save_file({"cls": random_features(of_val, filters), "labels": val_labels}, val)
    return train, val


def keep(path, most):
    """Every so many-th row, so that at most so many stay."""
    tensors = load_file(path)
    step = max(1, -(-len(tensors["labels"]) // most))
    save_file({name: np.ascontiguousarray(tensors[name][::step]) for name in ("cls", "labels")}, path)


def dinoflow(args, *words):
    command = [str(word) for word in (args.dinoflow, "eval", *words, "--json")]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def logistic(args, files, rows):
    (x, y), (u, v) = rows
    for c in args.c:
        ours = dinoflow(args, "logistic", "--features", files[0], "--val-features", files[1], "--c", c)
        theirs = LogisticRegression(C=c, tol=1e-8, max_iter=10000).fit(x.astype(np.float64), y)
        top1 = 100.0 * np.mean(theirs.predict(u.astype(np.float64)) == v)
        loss = -np.mean(theirs.predict_log_proba(x.astype(np.float64))[np.arange(len(y)), y])
        value = loss + 0.5 * np.sum(theirs.coef_**2) / (c * len(y))
        yield f"logistic, C = {c}: top-1", ours["top1"], top1, 0.2
        yield f"logistic, C = {c}: objective", ours["objective"], value, 1e-3 * value
    ours = dinoflow(args, "logistic", "--features", files[0], "--val-features", files[1], "--c", ",".join(map(str, args.c)))
    held = Key(0).named("held out").shuffle(list(range(len(y))))[: len(y) // 10]
    kept = np.setdiff1d(np.arange(len(y)), held)
    scores = []
    for c in args.c:
        theirs = LogisticRegression(C=c, tol=1e-8, max_iter=10000).fit(x[kept].astype(np.float64), y[kept])
        scores.append(100.0 * np.mean(theirs.predict(x[held].astype(np.float64)) == y[held]))
    for tried, score in zip(ours["tried"], scores):
        yield f"logistic, C = {tried['c']}: top-1 on the tenth held out", tried["top1"], score, 100.0 * 2 / len(held) + 0.2


def linear(args, files, rows):
    (x, y), (u, v) = [(torch.tensor(a), torch.tensor(b)) for a, b in rows]
    lrs, batch, epochs, classes = args.lr, 256, args.epochs, int(y.max()) + 1
    words = ["--epochs", epochs, "--global-batch", batch, "--lr", ",".join(map(str, lrs))]
    ours = dinoflow(args, "linear", "--features", files[0], "--val-features", files[1], *words)
    first = Key(0).named("linear head")
    weights = torch.tensor([0.01 * first.normal() for _ in range(classes * x.shape[1])], dtype=torch.float32)
    orders = []
    for epoch in range(epochs):
        orders.append(Key(0).named("linear order").word(epoch).shuffle(list(range(len(y)))))
    for lr in lrs:
        layer = torch.nn.Linear(x.shape[1], classes)
        with torch.no_grad():
            layer.weight.copy_(weights.reshape(classes, -1))
            layer.bias.zero_()
        optimizer = torch.optim.SGD(layer.parameters(), lr * batch / 256, momentum=0.9, weight_decay=0)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=0)
        lines = [line for line in ours["history"] if line["lr"] == lr]
        for epoch in range(epochs):
            losses = []
            for places in torch.tensor(orders[epoch]).split(batch):
                loss = torch.nn.functional.cross_entropy(layer(x[places]), y[places])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            schedule.step()
            with torch.no_grad():
                top1 = 100.0 * (layer(u).argmax(1) == v).float().mean().item()
            if epoch in (0, epochs - 1):
                yield f"linear, lr {lr}, epoch {epoch}: top-1", lines[epoch]["top1"], top1, 0.2
                yield f"linear, lr {lr}, epoch {epoch}: loss", lines[epoch]["loss"], np.mean(losses), 1e-3 * np.mean(losses)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dinoflow", default="target/release/dinoflow")
    parser.add_argument("--data", type=Path, required=True, help="a folder of train/CLASS/* and test/CLASS/*")
    parser.add_argument("--run", help="weights whose features are compared on; random convolutions where none are given")
    parser.add_argument("--train", type=int, default=3000)
    parser.add_argument("--val", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--c", type=float, nargs="+", default=[0.01, 0.1, 1.0])
    parser.add_argument("--lr", type=float, nargs="+", default=[0.001, 0.01, 0.1])
    args = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        files = make_features(args, Path(folder))
        rows = [(f["cls"], f["labels"]) for f in map(load_file, files)]
        print(f"{len(rows[0][1])} training rows and {len(rows[1][1])} others of width {rows[0][0].shape[1]}")
        print(f"{'':58} {'dinoflow':>10} {'peer':>10} {'differs':>10} {'may by':>9}")
        for probe in (logistic, linear):
            for what, ours, theirs, most in probe(args, files, rows):
                fits = abs(ours - theirs) <= most
                wrong += not fits
                mark = "" if fits else "  TOO FAR"
                print(f"{what:58} {ours:10.4f} {theirs:10.4f} {ours - theirs:10.5f} {most:9.5f}{mark}")
    print("all agree" if wrong == 0 else f"{wrong} disagree")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
