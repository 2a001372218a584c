"""Follows objects through a video with PyTorch, and compares each mask with dinoflow's, in one run.

    python tests/peers/video.py --dinoflow target/release/dinoflow --picture A.jpg B.jpg

A vision transformer with weights of a seed (timm's ViT-S/16) sees two pieces of the second picture move over the first. Masks are carried on
with all pairs of patches compared and masked afterwards, as the published protocol describes it; dinoflow compares neighbours alone.
Prints the share of pixels in each frame that both give the same object; the exit status is 1 when one is below 99 %.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
FRAMES, PATCH = 7, 16


def make_video(folder, pictures):
    ground = np.array(Image.open(pictures[0]).convert("RGB").resize((854, 480)))
    piece = np.array(Image.open(pictures[1]).convert("RGB").resize((200, 160)))
    for kind in ("JPEGImages", "Annotations"):
        (folder / kind / "480p" / "two").mkdir(parents=True)
    for t in range(FRAMES):
        frame, mask = ground.copy(), np.zeros((480, 854), np.uint8)
        x = 100 + 12 * t
        frame[150:310, x : x + 200], mask[150:310, x : x + 200] = piece, 1
        x = 600 - 10 * t
        frame[40:140, x : x + 120], mask[40:140, x : x + 120] = piece[:100, :120][::-1], 2
        Image.fromarray(frame).save(folder / f"JPEGImages/480p/two/{t:05}.jpg", quality=95)
        Image.fromarray(mask).save(folder / f"Annotations/480p/two/{t:05}.png")


def tokens(model, picture):
    """Patches after the last norm, with DINO's way of interpolating position embeddings; (patches, width)."""
    height, width = picture.shape[0] // PATCH, picture.shape[1] // PATCH
    shown = ((torch.from_numpy(picture).float() / 255 - MEAN) / DEVIATION).permute(2, 0, 1)[None]
    x = model.patch_embed.proj(shown).flatten(2).transpose(1, 2)
    grid = model.pos_embed[:, 1:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
    scale = ((height + 0.1) / 14, (width + 0.1) / 14)
    grid = torch.nn.functional.interpolate(grid, scale_factor=scale, mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    x = torch.cat((model.cls_token, x), 1) + torch.cat((model.pos_embed[:, :1], grid), 1)
    return model.norm(model.blocks(x))[0, 1:]


def follow(model, folder):
    paths = sorted((folder / "JPEGImages/480p/two").iterdir())
    first = Image.open(folder / "Annotations/480p/two/00000.png")
    size = (832, 480)
    height, width = size[1] // PATCH, size[0] // PATCH
    small = torch.from_numpy(np.array(first.resize((width, height), Image.NEAREST))).long()
    known = []
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x = y.flatten(), x.flatten()
    near = ((y[:, None] - y).abs() <= 12) & ((x[:, None] - x).abs() <= 12)
    for path in paths:
        frame = np.array(Image.open(path).convert("RGB"))
        features = torch.nn.functional.normalize(tokens(model, cv2.resize(frame, size)), dim=1)
        if not known:
            known.append((features, torch.nn.functional.one_hot(small.flatten(), 3).float()))
            continue
        context = known[:1] + known[1:][-7:]
        pairs = torch.cat([torch.exp(features @ f.T / 0.1) * near for f, _ in context], 1)
        least = pairs.topk(5, 1).values[:, -1:]
        pairs = torch.where(pairs >= least, pairs, 0.0)
        labels = pairs / pairs.sum(1, keepdim=True) @ torch.cat([label for _, label in context])
        known.append((features, labels))
        maps = labels.T.reshape(1, 3, height, width)
        maps = torch.nn.functional.interpolate(maps, scale_factor=PATCH, mode="bilinear", align_corners=False)[0]
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        objects = ((maps - low) / (high - low)).argmax(0).numpy().astype(np.uint8)
        yield path.stem, np.array(Image.fromarray(objects).resize((854, 480), Image.NEAREST))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dinoflow", default="target/release/dinoflow")
    parser.add_argument("--picture", nargs=2, required=True)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = timm.create_model("vit_small_patch16_224", pretrained=False, num_classes=0).eval()
    worst = 1.0
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        folder = Path(folder)
        make_video(folder, args.picture)
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "w.safetensors")
        words = ["eval", "video", folder / "w.safetensors", "--data", folder, "--out", folder / "out", "--sequences", "two"]
        done = subprocess.run([args.dinoflow, *map(str, words)], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        print(done.stdout.splitlines()[-1])
        for name, theirs in follow(model, folder):
            ours = np.array(Image.open(folder / "out/two" / f"{name}.png"))
            same = (ours == theirs).mean()
            worst = min(worst, same)
            print(f"frame {name}: {100 * same:.3f} % of pixels alike")
    print("all agree" if worst >= 0.99 else "they disagree")
    sys.exit(0 if worst >= 0.99 else 1)


if __name__ == "__main__":
    main()
