use super::super::probe::{gpu, lent, near, poisoned, taken};
use super::*;
use crate::kernels::Products;
use crate::kernels::probe::{poison, values};
use crate::kernels::scalar::patch as scalar;

fn check_unfold(gpu: &Gpu, batch: usize, height: usize, width: usize, patch: usize, skew: usize) {
    let n = batch * (height / patch) * (width / patch) * 3 * patch * patch;
    let images = values("images", skew + batch * 3 * height * width);
    let (mut want, mut found) = (poison(n), poisoned(gpu, Products::F32, n));
    scalar::unfold(batch, height, width, patch, &images[skew..], &mut want);
    let there = lent(gpu, &images);
    let there = there.view().slice(skew..images.len());
    unfold(gpu, batch, height, width, patch, there, found.view_mut()).unwrap();
    near(&format!("{batch} of {height} x {width} by {patch}"), 0.0, &taken(gpu, &found), &want);
}

#[test]
fn images_are_unfolded_as_by_the_twin() {
    let Some(gpu) = gpu() else { return };
    for (batch, height, width, patch) in
        [(1, 4, 4, 4), (2, 16, 24, 8), (3, 28, 42, 14), (1, 3, 5, 1), (2, 35, 33, 16), (1, 21, 14, 7)]
    {
        [0, 1].into_iter().for_each(|skew| check_unfold(gpu, batch, height, width, patch, skew));
    }
}

fn check_tokens(gpu: &Gpu, batch: usize, registers: usize, patches: usize, dim: usize, skew: usize) {
    let what = format!("{batch} x (1 + {registers} + {patches}) of {dim}, {skew} behind a boundary");
    let tokens = batch * (1 + registers + patches) * dim;
    let projected = values("projected", batch * patches * dim);
    let (cls, pos) = (values("cls", dim), values("pos", (1 + patches) * dim));
    let lead = (registers > 0).then(|| values("lead", registers * dim));
    let (mut want, mut found) = (poison(tokens), poisoned(gpu, Products::F32, skew + tokens));
    scalar::assemble(batch, registers, patches, dim, &projected, &cls, lead.as_deref(), &pos, &mut want);
    let lead_there = lead.map(|lead| lent(gpu, &lead));
    let lead = lead_there.as_ref().map(|lead| lead.view());
    let (from, cls, pos) = (lent(gpu, &projected), lent(gpu, &cls), lent(gpu, &pos));
    let (from, cls, pos) = (from.view(), cls.view(), pos.view());
    let mut to = found.view_mut();
    let to = to.slice(skew..skew + tokens);
    assemble(gpu, batch, registers, patches, dim, from, cls, lead, pos, to).unwrap();
    near(&format!("tokens {what}"), 0.0, &taken(gpu, &found)[skew..], &want);
}

fn check_backward(gpu: &Gpu, batch: usize, registers: usize, patches: usize, dim: usize, skew: usize) {
    let what = format!("{batch} x (1 + {registers} + {patches}) of {dim}, {skew} behind a boundary");
    let tokens = batch * (1 + registers + patches) * dim;
    let dtokens = values("dtokens", skew + tokens);
    let mut want = poison(batch * patches * dim);
    let mut sums =
        [values("dcls", dim), values("dlead", registers * dim), values("dpos", (1 + patches) * dim)];
    let [mut cls, mut lead, mut pos] = sums.each_ref().map(|sum| lent(gpu, &[sum, &[0.5][..]].concat()));
    let mut found = poisoned(gpu, Products::F32, want.len());
    let from = lent(gpu, &dtokens);
    let from = from.view().slice(skew..skew + tokens);
    let (mut cls_to, mut lead_to, mut pos_to) = (cls.view_mut(), lead.view_mut(), pos.view_mut());
    let (cls_to, pos_to) = (cls_to.slice(0..dim), pos_to.slice(0..(1 + patches) * dim));
    let lead_to = (registers > 0).then(|| lead_to.slice(0..registers * dim));
    assemble_backward(gpu, batch, registers, patches, dim, from, found.view_mut(), cls_to, lead_to, pos_to)
        .unwrap();
    let [dcls, dlead, dpos] = &mut sums;
    scalar::assemble_backward(
        batch,
        registers,
        patches,
        dim,
        &dtokens[skew..],
        &mut want,
        dcls,
        Some(&mut dlead[..]),
        dpos,
    );
    near(&format!("dprojected {what}"), 0.0, &taken(gpu, &found), &want);
    for (sum, (name, found)) in sums.iter().zip([("dcls", cls), ("dlead", lead), ("dpos", pos)]) {
        let found = taken(gpu, &found);
        near(&format!("{name} {what}"), 2e-6, &found[..sum.len()], sum);
        assert_eq!(found[sum.len()], 0.5, "what stands behind {name}");
    }
}

#[test]
fn tokens_are_assembled_as_by_the_twin() {
    let Some(gpu) = gpu() else { return };
    for (batch, patches, dim) in [(1, 1, 5), (2, 6, 64), (3, 16, 128), (2, 5, 384), (70, 2, 7), (9, 3, 516)] {
        for (registers, skew) in [(0, 0), (1, 0), (4, 0), (4, 1)] {
            check_tokens(gpu, batch, registers, patches, dim, skew);
            check_backward(gpu, batch, registers, patches, dim, skew);
        }
    }
}
