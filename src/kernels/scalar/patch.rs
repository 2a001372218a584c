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

/// tokens (batch, 1 + patches, dim): the CLS token, then the patches, plus pos.
pub fn assemble(
    batch: usize,
    patches: usize,
    dim: usize,
    projected: &[f32],
    cls: &[f32],
    pos: &[f32],
    tokens: &mut [f32],
) {
    for b in 0..batch {
        for t in 0..=patches {
            for i in 0..dim {
                let own = if t == 0 { cls[i] } else { projected[(b * patches + t - 1) * dim + i] };
                tokens[(b * (1 + patches) + t) * dim + i] = own + pos[t * dim + i];
            }
        }
    }
}

/// dprojected overwritten; dcls and dpos added to.
pub fn assemble_backward(
    batch: usize,
    patches: usize,
    dim: usize,
    dtokens: &[f32],
    dprojected: &mut [f32],
    dcls: &mut [f32],
    dpos: &mut [f32],
) {
    for b in 0..batch {
        for t in 0..=patches {
            for i in 0..dim {
                let d = dtokens[(b * (1 + patches) + t) * dim + i];
                dpos[t * dim + i] += d;
                if t == 0 {
                    dcls[i] += d;
                } else {
                    dprojected[(b * patches + t - 1) * dim + i] = d;
                }
            }
        }
    }
}
