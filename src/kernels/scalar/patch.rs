//! Patches, slowly.

/// Images (batch, 3, height, width) to rows (batch, patches, 3 · patch · patch).
pub fn unfold(batch: usize, height: usize, width: usize, patch: usize, images: &[f32], rows: &mut [f32]) {
    let (grid_h, grid_w) = (height / patch, width / patch);
    let mut at = 0;
    for b in 0..batch {
        for p in 0..grid_h * grid_w {
            for c in 0..3 {
                for i in 0..patch * patch {
                    let y = p / grid_w * patch + i / patch;
                    let x = p % grid_w * patch + i % patch;
                    rows[at] = images[((b * 3 + c) * height + y) * width + x];
                    at += 1;
                }
            }
        }
    }
}

/// tokens (batch, 1 + registers + patches, dim): the CLS token with its position, the registers `lead`, the patches with theirs.
pub fn assemble(
    batch: usize,
    registers: usize,
    patches: usize,
    dim: usize,
    projected: &[f32],
    cls: &[f32],
    lead: Option<&[f32]>,
    pos: &[f32],
    tokens: &mut [f32],
) {
    let mut to = 0;
    for b in 0..batch {
        for t in 0..1 + registers + patches {
            for i in 0..dim {
                tokens[to] = if t == 0 {
                    cls[i] + pos[i]
                } else if t <= registers {
                    lead.map_or(0.0, |lead| lead[(t - 1) * dim + i])
                } else {
                    let patch = t - 1 - registers;
                    projected[(b * patches + patch) * dim + i] + pos[(1 + patch) * dim + i]
                };
                to += 1;
            }
        }
    }
}

/// dprojected overwritten; dcls, dlead and dpos added to.
pub fn assemble_backward(
    batch: usize,
    registers: usize,
    patches: usize,
    dim: usize,
    dtokens: &[f32],
    dprojected: &mut [f32],
    dcls: &mut [f32],
    mut dlead: Option<&mut [f32]>,
    dpos: &mut [f32],
) {
    for b in 0..batch {
        for t in 0..1 + registers + patches {
            for i in 0..dim {
                let d = dtokens[(b * (1 + registers + patches) + t) * dim + i];
                if t == 0 {
                    dcls[i] += d;
                    dpos[i] += d;
                } else if t <= registers {
                    if let Some(dlead) = &mut dlead {
                        dlead[(t - 1) * dim + i] += d;
                    }
                } else {
                    let patch = t - 1 - registers;
                    dprojected[(b * patches + patch) * dim + i] = d;
                    dpos[(1 + patch) * dim + i] += d;
                }
            }
        }
    }
}
