"""Times PyTorch's whole DINO step, to be run beside `dinoflow bench` on the same GPU.

    python tests/peers/gpu_step.py --model vit_s16 --batch 64 --mode compile
    python tests/peers/gpu_step.py --device cpu --model micro --batch 2 --out-dim 256 --steps 2     (to try it without a GPU)

One step: two 224-pixel and eight 96-pixel crops through the student, the first two through the teacher, the loss in f32, the
centre, backward, clipping by parameter, AdamW, the teacher's moving average. Crops are random and lie on the device from the
start; there is no drop path, and the last layer is trained. It is written to be quick: scaled_dot_product_attention, fused
AdamW, lists of tensors in one call, and nothing that makes the host wait for the device.

Prints one line of JSON. Memory is the peak over the timed steps, without what compiling took before them.
"""

import argparse
import copy
import json
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

# width, depth, heads, patch
MODELS = {
    "vit_s16": (384, 12, 6, 16),
    "vit_s8": (384, 12, 6, 8),
    "vit_b16": (768, 12, 12, 16),
    "vit_b8": (768, 12, 12, 8),
    "micro": (64, 2, 2, 16),
}
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.04
CENTRE_MOMENTUM, TEACHER_MOMENTUM = 0.9, 0.996
CLIP = 3.0


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        rows, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, width // self.heads))
        q, k, v = qkv.transpose(1, 3).unbind(2)  # each [rows, heads, tokens, width of a head]
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Network(nn.Module):
    """A vision transformer and DINO's head on its CLS token."""

    def __init__(self, width, depth, heads, patch, size, out_dim, hidden=2048, bottleneck=256):
        super().__init__()
        self.side = size // patch
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, self.side**2 + 1, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        # weight-normalised, with the magnitude fixed at 1: only the direction is a parameter
        self.prototypes = nn.Parameter(torch.empty(out_dim, bottleneck).uniform_(-(bottleneck**-0.5), bottleneck**-0.5))
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter is self.cls or parameter is self.positions or (parameter.dim() == 2 and parameter is not self.prototypes):
                nn.init.normal_(parameter, std=0.02)

    def positions_for(self, side):
        if side == self.side:
            return self.positions
        grid = self.positions[:, 1:].transpose(1, 2).unflatten(2, (self.side, self.side))
        # DINO names the scale, a tenth of a patch more than the grid asks, and not the size: other sampling points
        grid = F.interpolate(grid, scale_factor=((side + 0.1) / self.side,) * 2, mode="bicubic")
        return torch.cat([self.positions[:, :1], grid.flatten(2).transpose(1, 2)], 1)

    def features(self, crops):
        x = self.patches(crops)
        side = x.shape[-1]
        x = torch.cat([self.cls.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1) + self.positions_for(side)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0])

    def forward(self, *crops):
        """Crops of one size at a time through the backbone, all rows at once through the head."""
        x = torch.cat([self.features(some) for some in crops])
        return F.linear(F.normalize(self.mlp(x), dim=-1), F.normalize(self.prototypes, dim=-1))


def loss_of(logits, targets, views):
    """Cross-entropy of each view with the targets of the two global views, save with its own; views one after the other."""
    words = F.log_softmax(logits.float() / STUDENT_TEMPERATURE, -1).unflatten(0, (views, -1))
    targets = targets.unflatten(0, (2, -1))
    own = (targets * words[:2]).sum()
    return (own - (targets.sum(0) * words).sum()) / (words.shape[1] * 2 * (views - 1))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="vit_s16")
    parser.add_argument("--mode", choices=("eager", "compile"), default="eager")
    parser.add_argument("--precision", choices=("bf16", "f32", "tf32"), default="bf16", help="bf16: autocast")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--steps", type=int, default=20, help="timed, after the warm-up")
    parser.add_argument("--warmup", type=int, default=6)
    parser.add_argument("--out-dim", type=int, default=65536)
    parser.add_argument("--local-crops", type=int, default=8)
    parser.add_argument("--global-size", type=int, default=224)
    parser.add_argument("--local-size", type=int, default=96)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU; --device cpu tries the script without one")
    if args.steps < 1 or args.local_crops < 1:
        parser.error("--steps and --local-crops are at least 1")
    return args


class Step:
    def __init__(self, args):
        gpu = args.device == "cuda"
        self.views = 2 + args.local_crops
        self.student = Network(*MODELS[args.model], args.global_size, args.out_dim).to(args.device)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.parameters = list(self.student.parameters())
        self.averages = list(self.teacher.parameters())
        groups = [
            {"params": [p for p in self.parameters if p.dim() > 1], "weight_decay": 0.04},
            {"params": [p for p in self.parameters if p.dim() == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=5e-4 * args.batch / 256, fused=gpu, foreach=not gpu)
        self.centre = torch.zeros(args.out_dim, device=args.device)
        shapes = [(2 * args.batch, args.global_size), (args.local_crops * args.batch, args.local_size)]
        self.crops = [torch.randn(rows, 3, size, size, device=args.device) for rows, size in shapes]
        self.autocast = lambda: torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.precision == "bf16")
        self.forward, self.target = self.student_loss, self.teacher_targets
        if args.mode == "compile":
            self.forward = torch.compile(self.forward, dynamic=False)
            self.target = torch.compile(self.target, dynamic=False)

    def teacher_targets(self, crops, centre):
        with self.autocast():
            logits = self.teacher(crops).float()
        targets = F.softmax((logits - centre) / TEACHER_TEMPERATURE, -1)
        return targets, centre.lerp(logits.mean(0), 1 - CENTRE_MOMENTUM)

    def student_loss(self, crops, targets):
        with self.autocast():
            logits = self.student(*crops)
        return loss_of(logits, targets, self.views)

    def clip(self):
        gradients = [p.grad for p in self.parameters]
        # factors stay on the device: no .item()
        norms = torch.stack(torch._foreach_norm(gradients))
        torch._foreach_mul_(gradients, (CLIP / (norms + 1e-6)).clamp(max=1.0).unbind())

    def __call__(self):
        with torch.no_grad():
            targets, self.centre = self.target(self.crops[0], self.centre)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.forward(self.crops, targets)
        loss.backward()
        with torch.no_grad():
            self.clip()
            self.optimizer.step()
            torch._foreach_lerp_(self.averages, self.parameters, 1 - TEACHER_MOMENTUM)
        return loss.detach()


def timed(step, args):
    """The seconds of each timed step, and the last loss. On a GPU by its own clock, from the end of one step to the end of the next."""
    for _ in range(args.warmup):
        loss = step()
    if args.device == "cpu":
        marks = [time.perf_counter()]
        for _ in range(args.steps):
            loss = step()
            marks.append(time.perf_counter())
        return [after - before for before, after in zip(marks, marks[1:])], loss.item()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(args.steps + 1)]
    marks[0].record()
    for mark in marks[1:]:
        loss = step()
        mark.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) / 1e3 for before, after in zip(marks, marks[1:])], loss.item()


def main():
    args = arguments()
    gpu = args.device == "cuda"
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if args.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = args.precision == "tf32"
    began = time.perf_counter()
    seconds, loss = timed(Step(args), args)
    median = statistics.median(seconds)
    print(
        json.dumps(
            {
                "peer": "pytorch",
                "model": args.model,
                "mode": args.mode,
                "precision": args.precision,
                "batch": args.batch,
                "out_dim": args.out_dim,
                "local_crops": args.local_crops,
                "images_per_second": round(args.batch / median, 3),
                "seconds_per_step": round(median, 6),
                "seconds_of_steps": [round(one, 6) for one in seconds],
                "seconds_in_all": round(time.perf_counter() - began, 1),
                "peak_memory_bytes": torch.cuda.max_memory_allocated()
                if gpu
                else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "peak_memory_reserved_bytes": torch.cuda.max_memory_reserved() if gpu else None,
                "loss": round(loss, 4),
                "gpu": torch.cuda.get_device_name() if gpu else None,
                "torch": torch.__version__,
                "cuda": torch.version.cuda,
            }
        )
    )


if __name__ == "__main__":
    main()
