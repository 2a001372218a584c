#!/usr/bin/env python3
"""Holds dinoflow's weights against the programs that it exchanges them with: timm, transformers, torchvision, ONNX Runtime, and a DINO ViT written
here from the paper. Weights go out and are loaded there with strict=True; weights made there come in; the CLS features of real photographs must agree to 1e-4.

    pip install torch torchvision timm transformers onnx onnxruntime pillow safetensors numpy
    python tests/peers/weights.py target/release/dinoflow FOLDER_OF_PHOTOGRAPHS

The photographs are cut to squares of exactly the size that a network is shown, so that no program resizes anything. Prints one line a case; ends
with status 1 when one of them fails.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
warnings.filterwarnings("ignore")

import numpy as np
import onnx
import onnxruntime
import timm
import torch
import torchvision
import transformers
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

transformers.utils.logging.disable_progress_bar()

TOLERANCE = 1e-4
PICTURES = 4
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# width, blocks, heads
SHAPES = {"micro": (128, 4, 2), "tiny": (192, 12, 3), "small": (384, 12, 6)}


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.attn.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
        x = x + self.attn.proj((attention @ v).transpose(1, 2).reshape(batch, tokens, width))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class Dino(nn.Module):
    """The ViT of the paper with the published keys and its interpolation of position embeddings."""

    def __init__(self, name, patch, image=224):
        super().__init__()
        width, depth, heads = SHAPES[name]
        self.patch = patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image // patch) ** 2, width))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def positions(self, height, width):
        grid = math.isqrt(self.pos_embed.shape[1] - 1)
        if (height, width) == (grid, grid):
            return self.pos_embed
        patches = self.pos_embed[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
        scale = ((height + 0.1) / grid, (width + 0.1) / grid)
        patches = F.interpolate(patches, scale_factor=scale, mode="bicubic", recompute_scale_factor=False)
        assert patches.shape[-2:] == (height, width)
        return torch.cat((self.pos_embed[:, :1], patches.permute(0, 2, 3, 1).flatten(1, 2)), 1)

    def forward(self, x):
        height, width = x.shape[2] // self.patch, x.shape[3] // self.patch
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1) + self.positions(height, width)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


class Wrapped(nn.Module):
    """Backbone and head as the published training keeps them."""

    def __init__(self, backbone, width, hidden, bottleneck, out_dim):
        super().__init__()
        self.backbone, self.head = backbone, nn.Module()
        layers = [nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)]
        self.head.mlp = nn.Sequential(*layers)
        self.head.last_layer = nn.utils.weight_norm(nn.Linear(bottleneck, out_dim, bias=False))


def drawn(module, seed):
    """Gives every parameter and statistic a number of its own kind: what is 0 or 1 at first would hide a swap."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else 0
            if name.endswith("num_batches_tracked"):
                tensor.fill_(24)
            elif name.endswith("running_var") or (name.endswith("weight") and tensor.dim() == 1):
                tensor.copy_(1 + 0.1 * noise.abs())
            elif tensor.dim() >= 2 and not name.endswith(("token", "embed", "embeddings")):
                tensor.copy_(noise / math.sqrt(tensor[0].numel()))
            else:
                tensor.copy_(0.05 * noise)
    return module.eval()


class Peers:
    def __init__(self, dinoflow, photographs, folder):
        self.dinoflow, self.folder, self.rows = dinoflow, folder, []
        self.originals = sorted(path for path in photographs.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg", ".png"))
        self.originals = self.originals[:PICTURES]
        assert self.originals, f"no photographs in {photographs}"

    def run(self, *words):
        done = subprocess.run([self.dinoflow, *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, f"dinoflow {' '.join(map(str, words))}: {done.stderr}"
        return done.stdout

    def pictures(self, side):
        """The photographs cut to squares of a side: their folder, and what a network reads."""
        folder = self.folder / f"pictures-{side}"
        pixels = []
        if not folder.exists():
            folder.mkdir()
            for i, path in enumerate(self.originals):
                picture = Image.open(path).convert("RGB")
                short = min(picture.size)
                left, top = (picture.width - short) // 2, (picture.height - short) // 2
                box = (left, top, left + short, top + short)
                picture.resize((side, side), Image.BICUBIC, box).save(folder / f"{i:02}.png")
        for path in sorted(folder.iterdir()):
            array = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255
            pixels.append((array - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None])
        return folder, torch.stack(pixels)

    def ours(self, weights, side, *words):
        out = self.folder / "features.safetensors"
        folder, _ = self.pictures(side)
        self.run("features", folder, "--weights", weights, "--resize", side, "--crop", side, "-o", out, *words)
        tensors = load_file(out)
        rows = next(value for value in tensors.values() if value.dtype == np.float32 and value.ndim == 2)
        return torch.from_numpy(rows)

    def compare(self, case, weights, side, theirs, keys="", words=(), tolerance=TOLERANCE):
        _, pixels = self.pictures(side)
        with torch.no_grad():
            theirs = theirs(pixels)
        ours = self.ours(weights, side, *words)
        assert ours.shape == theirs.shape, f"{case}: {tuple(ours.shape)} and {tuple(theirs.shape)}"
        apart = (ours - theirs).abs().max().item()
        self.rows.append((case, side, apart, theirs.abs().max().item(), keys, apart <= tolerance))
        print(f"{case:<58} {side:>4}  {apart:9.2e}  {theirs.abs().max().item():8.2f}  {keys or '-':<22} {'ok' if apart <= tolerance else 'FAILED'}", flush=True)

    # outwards

    def train(self, name, backbone, head, side, batch=2):
        """A run of two steps, so that weights come from where users have theirs."""
        graph = self.folder / f"{name}.ron"
        local = "" if "ResNet" in backbone else ", local_size: 96, local_crops: 1"
        crops = f"global_size: {side}{local or ', local_size: 32, local_crops: 0'}"
        local_wire = "" if "ResNet" in backbone else ', "local": "collate/local"'
        graph.write_text(f"""(name: "{name}", seed: 1, precision: F32, global_batch: {batch}, duration: Steps(2),
            network: (backbone: {backbone}, head: ({head})),
            nodes: {{
                "source": (stage: Synthetic(count: 8, size: {side})),
                "decode": (stage: Decode(), inputs: {{"bytes": "source/bytes"}}),
                "multi_crop": (stage: MultiCrop({crops}), inputs: {{"images": "decode/images"}}),
                "collate": (stage: Collate(), inputs: {{"crops": "multi_crop/crops"}}),
                "student": (stage: Student(), inputs: {{"global": "collate/global"{local_wire}}}, feedback: {{"weights": "optimizer/weights"}}),
                "teacher": (stage: Teacher(), inputs: {{"global": "collate/global"}}, feedback: {{"weights": "ema/weights"}}),
                "center": (stage: Centering(temperature: Constant(0.04)), inputs: {{"logits": "teacher/logits"}}),
                "loss": (stage: CrossEntropy(), inputs: {{"logits": "student/logits", "targets": "center/targets"}}),
                "optimizer": (stage: AdamW(lr: 0.001, lr_scaling: None, lr_course: Cosine(warmup: Steps(0), end: 0.0001), weight_decay: Constant(0.04))),
                "ema": (stage: Momentum(momentum: Constant(0.5)), inputs: {{"student": "optimizer/weights"}}),
            }})""")
        run = self.folder / f"run-{name}"
        self.run("run", graph, "--out", run)
        return run

    def export(self, weights, target, out, *words):
        out = self.folder / out.replace("/", "-")
        self.run("export", weights, "--format", target, "-o", out, *words)
        return out

    def strictly(self, module, path):
        found = module.load_state_dict(torch.load(path, weights_only=True), strict=True)
        return module.eval(), f"{len(found.missing_keys)} missing, {len(found.unexpected_keys)} extra"

    def onnx_out(self, label, weights, side, *words):
        """The network itself, run by onnxruntime."""
        path = self.export(weights, "onnx", f"{label}-{side}.onnx", *words)
        onnx.checker.check_model(onnx.load(path), full_check=True)
        session = onnxruntime.InferenceSession(path)
        cls = lambda pixels: torch.from_numpy(session.run(["cls"], {"pixels": pixels.numpy()})[0])
        self.compare(f"{label} → ONNX", weights, side, cls, "checked")

    def vit_out(self, label, name, patch, weights):
        width, depth, heads = SHAPES[name]
        dino, keys = self.strictly(Dino(name, patch), self.export(weights, "dino", f"{label}-dino.pth"))
        self.compare(f"{label} → published backbone .pth", weights, 224, dino, keys)
        self.compare(f"{label} → the same, interpolating by itself", weights, 160, dino, keys)
        for side in (224, 160):
            sized = ("--size", side)
            shape = dict(img_size=side, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, num_classes=0)
            module = timm.create_model("vit_small_patch16_224", **shape)
            module, keys = self.strictly(module, self.export(weights, "timm", f"{label}-timm-{side}.pth", *sized))
            self.compare(f"{label} → timm .pth", weights, side, module, keys)
            folder = self.export(weights, "timm", f"{label}-timm-{side}", *sized)
            module = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
            mean = module.pretrained_cfg["mean"]
            self.compare(f"{label} → timm folder", weights, side, module, f"mean {mean[0]}")
            folder = self.export(weights, "hf", f"{label}-hf-{side}", *sized)
            module, found = transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False, output_loading_info=True)
            keys = f"{len(found['missing_keys'])} missing, {len(found['unexpected_keys'])} extra"
            assert keys == "0 missing, 0 extra", f"{label}: {found}"
            module.eval()
            self.compare(f"{label} → ViTModel.from_pretrained", weights, side, lambda x: module(x).last_hidden_state[:, 0], keys)
            processor = transformers.AutoImageProcessor.from_pretrained(folder)
            shown = processor(Image.open(self.originals[0]).convert("RGB"), return_tensors="pt")["pixel_values"]
            assert shown.shape == (1, 3, side, side), shown.shape
            self.onnx_out(label, weights, side, *sized)

    def outwards(self):
        run = self.train("tiny", "VitTiny(patch: 16, image: 224)", "hidden: 64, bottleneck: 32, out_dim: 128", 224)
        self.vit_out("vit_tiny/16 of a run", "tiny", 16, run)
        full = torch.load(self.export(run, "dino-full", "full.pth"), weights_only=True)
        assert full["dino_loss"]["center"].shape == (1, 128) and full["epoch"] == 0, full.keys()
        for which in ("student", "teacher"):
            whole = Wrapped(Dino("tiny", 16), 192, 64, 32, 128)
            state = {key.removeprefix("module."): value for key, value in full[which].items()}
            assert which != "student" or all(key.startswith("module.") for key in full[which])
            found = whole.load_state_dict(state, strict=True)
            keys = f"{len(found.missing_keys)} missing, {len(found.unexpected_keys)} extra"
            self.compare(f"vit_tiny/16 of a run → dino-full, {which}", run, 224, whole.backbone.eval(), keys, ("--which", which))
        small = self.folder / "small.safetensors"
        save_file({f"backbone.{key}": value.clone() for key, value in drawn(Dino("small", 16), 3).state_dict().items()}, small)
        self.vit_out("vit_small/16", "small", 16, small)
        run = self.train("resnet", "ResNet50()", "hidden: 32, bottleneck: 16, out_dim: 64", 64, batch=4)
        module = torchvision.models.resnet50()
        module.fc = nn.Identity()
        module, keys = self.strictly(module, self.export(run, "torchvision", "resnet50.pth"))
        self.compare("resnet50 of a run → torchvision .pth", run, 224, module, keys)
        self.compare("resnet50 of a run → torchvision .pth", run, 160, module, keys)
        self.onnx_out("resnet50 of a run", run, 224)
        stem = "VitMicro(patch: 16, image: 96, stem: Conv, registers: 2)"
        run = self.train("stem", stem, "hidden: 32, bottleneck: 16, out_dim: 64", 96)
        self.onnx_out("vit_micro/16 with a convolutional stem and registers", run, 96)

    # inwards

    def put(self, name, value, **options):
        path = self.folder / name
        torch.save(value, path, **options)
        return path

    def inwards(self):
        module = drawn(timm.create_model("vit_small_patch16_224.dino", pretrained=False), 5)
        self.compare("timm vit_small_patch16_224.dino .pth →", self.put("timm.pth", module.state_dict()), 224, module)
        old = self.put("timm-old.pth", module.state_dict(), _use_new_zipfile_serialization=False)
        self.compare("the same, saved as before PyTorch 1.6 →", old, 224, module)
        half = self.put("half.pth", {key: value.half() for key, value in module.state_dict().items()})
        rounded = timm.create_model("vit_small_patch16_224.dino", pretrained=False).eval()
        rounded.load_state_dict({key: value.half().float() for key, value in module.state_dict().items()})
        self.compare("the same in float16 →", half, 224, rounded)
        module = drawn(timm.create_model("vit_tiny_patch16_224", num_classes=10, reg_tokens=4), 6)
        cls = lambda module: lambda x: module.forward_features(x)[:, 0]
        self.compare("timm with registers and a classifier →", self.put("reg.pth", module.state_dict()), 224, cls(module))
        back = timm.create_model("vit_tiny_patch16_224", num_classes=0, reg_tokens=4)
        back, keys = self.strictly(back, self.export(self.folder / "reg.pth", "timm", "reg-back.pth"))
        self.compare("the same and back → timm", self.folder / "reg.pth", 224, cls(back), keys)
        module = drawn(timm.create_model("vit_tiny_patch16_224", num_classes=0, reg_tokens=4, no_embed_class=True), 7)
        self.compare("timm with registers, CLS without position →", self.put("bare.pth", module.state_dict()), 224, cls(module))
        config = transformers.ViTConfig(hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768, layer_norm_eps=1e-6)
        for pooler in (False, True):
            module = drawn(transformers.ViTModel(config, add_pooling_layer=pooler), 8)
            folder = self.folder / f"vit-{pooler}"
            module.save_pretrained(folder)
            features = lambda x: module(x).last_hidden_state[:, 0]
            self.compare(f"ViTModel.save_pretrained, pooler {pooler} →", folder, 224, features)
        (folder / "model.safetensors").unlink()
        torch.save(module.state_dict(), folder / "pytorch_model.bin")
        self.compare("the same as pytorch_model.bin, the modules' names →", folder, 224, features)
        module = drawn(transformers.ViTForImageClassification(config), 9)
        module.save_pretrained(self.folder / "classifier")
        self.compare("ViTForImageClassification →", self.folder / "classifier", 224, lambda x: module.vit(x).last_hidden_state[:, 0])
        module = drawn(torchvision.models.resnet50(), 10)
        path = self.put("resnet50-in.pth", module.state_dict())
        module.fc = nn.Identity()
        self.compare("torchvision resnet50 .pth →", path, 224, module)
        module = drawn(torchvision.models.resnet18(), 11)
        path = self.put("resnet18-in.pth", {"state_dict": {f"module.{k}": v for k, v in module.state_dict().items()}})
        module.fc = nn.Identity()
        self.compare("torchvision resnet18 under state_dict/module. →", path, 160, module)
        self.published()

    def published(self):
        """A whole checkpoint as the published training leaves it, with what must not be run beside the weights."""
        networks = {seed: drawn(Wrapped(Dino("micro", 8, 64), 128, 32, 16, 64), seed) for seed in (12, 13)}
        student, teacher = networks[12].state_dict(), networks[13].state_dict()
        optimizer = torch.optim.AdamW(networks[12].parameters())
        sum(p.sum() for p in networks[12].parameters()).backward()
        optimizer.step()
        student = {key: value.clone() for key, value in networks[12].state_dict().items()}
        whole = {
            "student": {f"module.{key}": value for key, value in student.items()},
            "teacher": teacher,
            "optimizer": optimizer.state_dict(),
            "epoch": 7,
            "args": argparse.Namespace(arch="vit_micro", patch_size=8, path=Path("/tmp")),
            "dino_loss": {"center": torch.zeros(1, 64)},
            "fp16_scaler": {"scale": 65536.0, "_growth_tracker": 3},
        }
        for label, options in (("", {}), (" before 1.6", {"_use_new_zipfile_serialization": False})):
            path = self.put(f"checkpoint{label}.pth", whole, **options)
            for which, network in (("student", networks[12]), ("teacher", networks[13])):
                self.compare(f"published checkpoint{label}, {which} →", path, 64, network.backbone.eval(), words=("--which", which))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dinoflow", nargs="?", default=os.environ.get("DINOFLOW", "target/release/dinoflow"), type=Path)
    parser.add_argument("photographs", nargs="?", default=os.environ.get("PHOTOGRAPHS"), type=Path)
    asked = parser.parse_args()
    if asked.photographs is None:
        parser.error("name a folder of photographs")
    print(f"timm {timm.__version__}, transformers {transformers.__version__}, torchvision {torchvision.__version__}, torch {torch.__version__}")
    print(f"{'case':<58} {'side':>4}  {'max apart':>9}  {'largest':>8}  {'keys':<22}")
    with tempfile.TemporaryDirectory() as folder:
        peers = Peers(asked.dinoflow.resolve(), asked.photographs, Path(folder))
        peers.outwards()
        peers.inwards()
    failed = [row for row in peers.rows if not row[-1]]
    print(f"{len(peers.rows)} cases, {len(failed)} failed; the largest difference is {max(row[2] for row in peers.rows):.2e}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
