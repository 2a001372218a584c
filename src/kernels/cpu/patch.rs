//! Images to patch rows, and patches with CLS token and position embeddings to tokens.

use super::split::{each_part, sum_over_rows};

/// Images (batch, 3, height, width) to rows (batch, height/patch · width/patch, 3 · patch · patch), in the order
/// (channel, y, x) of a convolution's weight.
pub fn unfold(batch: usize, height: usize, width: usize, patch: usize, images: &[f32], rows: &mut [f32]) {
    let (grid_h, grid_w) = (height / patch, width / patch);
    assert_eq!(images.len(), batch * 3 * height * width, "images are (batch, 3, height, width)");
    assert_eq!(
        rows.len(),
        batch * grid_h * grid_w * 3 * patch * patch,
        "rows are (batch, patches, 3 patch²)"
    );
    // a task is one row of patches
    each_part(grid_w * 3 * patch * patch, rows, |task, rows| {
        let (image, top) = (task / grid_h, task % grid_h * patch);
        for channel in 0..3 {
            for y in 0..patch {
                let line = ((image * 3 + channel) * height + top + y) * width;
                for x in 0..grid_w {
                    let to = ((x * 3 + channel) * patch + y) * patch;
                    rows[to..to + patch].copy_from_slice(&images[line + x * patch..][..patch]);
                }
            }
        }
    });
}

/// tokens (batch, 1 + registers + patches, dim): the CLS token; `lead` (registers, dim) as they are; then `projected` (batch, patches,
/// dim). CLS and patches get their positions, pos (1 + patches, dim).
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
    let (inner, outer) = (patches * dim, (1 + registers + patches) * dim);
    assert_eq!([projected.len(), tokens.len()], [batch * inner, batch * outer], "patches and tokens");
    assert_eq!([cls.len(), pos.len()], [dim, (1 + patches) * dim], "CLS token and position embeddings");
    let lead = lead.unwrap_or_default();
    assert_eq!(lead.len(), registers * dim, "registers");
    each_part(outer, tokens, |image, tokens| {
        let (first, rest) = tokens.split_at_mut(dim);
        let (between, last) = rest.split_at_mut(lead.len());
        add_into(cls, &pos[..dim], first);
        between.copy_from_slice(lead);
        add_into(&projected[image * inner..][..inner], &pos[dim..], last);
    });
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
    dlead: Option<&mut [f32]>,
    dpos: &mut [f32],
) {
    let (inner, outer) = (patches * dim, (1 + registers + patches) * dim);
    let first_patch = (1 + registers) * dim;
    assert_eq!([dprojected.len(), dtokens.len()], [batch * inner, batch * outer], "patches and tokens");
    assert_eq!([dcls.len(), dpos.len()], [dim, (1 + patches) * dim], "CLS token and position embeddings");
    let dlead = dlead.unwrap_or_default();
    assert_eq!(dlead.len(), registers * dim, "registers");
    each_part(inner.max(1), dprojected, |image, dprojected| {
        dprojected.copy_from_slice(&dtokens[image * outer + first_patch..][..inner]);
    });
    sum_over_rows(batch, dcls, |images, sum| {
        images.for_each(|image| accumulate(&dtokens[image * outer..][..dim], sum));
    });
    // a task is a token, its sum over images in order
    let token = |at: usize, sum: &mut [f32]| {
        (0..batch).for_each(|image| accumulate(&dtokens[image * outer + at..][..dim], sum));
    };
    each_part(dim, dlead, |register, sum| token((1 + register) * dim, sum));
    each_part(dim, dpos, |place, sum| token(if place == 0 { 0 } else { (registers + place) * dim }, sum));
}

vectorised! {
    fn add_into<I>(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
            *o = a + b;
        }
    }

    fn accumulate<I>(x: &[f32], sum: &mut [f32]) {
        for (s, x) in sum.iter_mut().zip(x) {
            *s += x;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::probe::{poison, values};

    fn check(batch: usize, registers: usize, grid_h: usize, grid_w: usize, patch: usize, dim: usize) {
        let (height, width, patches) = (grid_h * patch, grid_w * patch, grid_h * grid_w);
        let images = values("images", batch * 3 * height * width);
        let rows = poison(images.len());
        twins!(0.0, patch::unfold(batch, height, width, patch, &images, rows), rows = rows);
        let (projected, cls) = (values("projected", batch * patches * dim), values("cls", dim));
        let tokens = batch * (1 + registers + patches) * dim;
        let (pos, dtokens) = (values("pos", (1 + patches) * dim), values("d", tokens));
        let lead = values("lead", registers * dim);
        let lead = (registers > 0).then_some(&lead[..]);
        twins!(
            0.0,
            patch::assemble(batch, registers, patches, dim, &projected, &cls, lead, &pos, t),
            t = poison(dtokens.len())
        );
        twins!(
            1e-6,
            patch::assemble_backward(
                batch,
                registers,
                patches,
                dim,
                &dtokens,
                dp,
                dcls,
                Some(&mut dlead[..]),
                dpos
            ),
            dp = poison(projected.len()),
            dcls = values("dcls", dim),
            dlead = values("dlead", registers * dim),
            dpos = values("dpos", pos.len())
        );
    }

    #[test]
    fn fast_patches_agree_with_their_twin() {
        for (batch, grid_h, grid_w, patch, dim) in
            [(1, 1, 1, 4, 5), (2, 2, 3, 8, 64), (3, 4, 4, 8, 128), (2, 14, 14, 16, 384), (70, 1, 2, 1, 7)]
        {
            [0, 1, 4].into_iter().for_each(|registers| check(batch, registers, grid_h, grid_w, patch, dim));
        }
    }
}
