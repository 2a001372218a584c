use super::super::probe::{ALL, gpu, lent, near, poisoned, representable, taken};
use super::*;
use crate::kernels::cpu::tokens as cpu;
use crate::kernels::probe::{poison, values};
use crate::kernels::{NumbersMut, Products};

/// What is copied or added once is the same to the last bit.
#[track_caller]
fn same(what: &str, found: &[f32], wanted: &[f32]) {
    let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(found), bits(wanted), "{what}");
}

/// Parts of images of `tokens`, which start `skew` numbers behind a boundary.
fn check_parts(gpu: &Gpu, batch: usize, tokens: usize, keep: usize, dim: usize, skew: usize) {
    let (all, some) = (batch * tokens * dim, batch * keep * dim);
    let what = format!("{keep} of {tokens} tokens of {batch} images of {dim}, {skew} behind a boundary");
    let (src, part) = (values("src", skew + all), values("part", skew + some));
    let (src_there, part_there) = (lent(gpu, &src), lent(gpu, &part));
    let (src_there, part_there) =
        (src_there.view().slice(skew..skew + all), part_there.view().slice(skew..skew + some));
    let (src, part) = (&src[skew..], &part[skew..]);

    let (mut want, mut found) = (poison(some), poisoned(gpu, Products::F32, some));
    cpu::first(batch, tokens, keep, dim, src, &mut want);
    first(gpu, batch, tokens, keep, dim, src_there, found.view_mut()).unwrap();
    same(&format!("first {what}"), &taken(gpu, &found), &want);

    for from in 0..=keep {
        let (mut want, mut found) = (poison(some), poisoned(gpu, Products::F32, some));
        cpu::without(batch, tokens, from, tokens - keep, dim, src, &mut want);
        without(gpu, batch, tokens, from, tokens - keep, dim, src_there, found.view_mut()).unwrap();
        same(&format!("from {from} on {what}"), &taken(gpu, &found), &want);
    }

    let mut want = values("dst", all);
    let mut found = lent(gpu, &want);
    cpu::add_first(batch, tokens, keep, dim, part, &mut want);
    add_first(gpu, batch, tokens, keep, dim, part_there, found.view_mut()).unwrap();
    same(&format!("added to first {what}"), &taken(gpu, &found), &want);
}

#[test]
fn parts_of_images_are_copied_and_added() {
    let Some(gpu) = gpu() else { return };
    for (batch, tokens, keep, dim) in [
        (1, 1, 1, 1),
        (2, 3, 2, 2),
        (3, 5, 1, 8),
        (2, 4, 4, 37),
        (3, 7, 5, 384),
        (2, 5, 0, 8),
        (1, 3, 2, 700),
    ] {
        [0, 1].into_iter().for_each(|skew| check_parts(gpu, batch, tokens, keep, dim, skew));
    }
}

fn check_rows(gpu: &Gpu, rows: Rows<'_>, total: usize, dim: usize) {
    let src = values("src", total * dim);
    let there = lent(gpu, &src);
    for products in ALL {
        let (mut want, mut found) = (poison(rows.len() * dim), poisoned(gpu, products, rows.len() * dim));
        let start = values("db", dim);
        let (mut db, mut unused) = (lent(gpu, &start), vec![0.0; dim]);
        cpu::gather(rows, dim, 0.3, &src, NumbersMut::F32(&mut want), &mut unused);
        gather(gpu, rows, dim, 0.3, there.view(), found.any_mut(), db.view_mut()).unwrap();
        // the sums are those of what is stored
        let (stored, mut sums) = (taken(gpu, &found), start);
        crate::kernels::scalar::linear::backward_bias(rows.len(), dim, (&stored[..]).into(), &mut sums);
        near(&format!("sums of {rows:?} for {products:?}"), 5e-6, &taken(gpu, &db), &sums);
        same(&format!("{rows:?} for {products:?}"), &taken(gpu, &found), &representable(products, &want));
    }
    let mut want = values("dst", total * dim);
    let mut found = lent(gpu, &want);
    // rows that are named keep what they had
    cpu::copy_others(rows, dim, &src, &mut want);
    copy_others(gpu, rows, dim, there.view(), found.view_mut()).unwrap();
    same(&format!("all but {rows:?}"), &taken(gpu, &found), &want);
}

#[test]
fn named_rows_are_gathered_and_the_others_passed_on() {
    let Some(gpu) = gpu() else { return };
    for dim in [1, 7, 8, 384, 515] {
        check_rows(gpu, Rows::All(5), 5, dim);
        check_rows(gpu, Rows::Of { images: &[0, 2], each: 2 }, 6, dim);
        // and rows behind the last whole image
        check_rows(gpu, Rows::Of { images: &[1, 2, 5, 9, 10], each: 7 }, 79, dim);
        check_rows(gpu, Rows::Of { images: &[], each: 3 }, 6, dim);
        check_rows(gpu, Rows::Every { first: 1, apart: 3, count: 7 }, 25, dim);
        check_rows(gpu, Rows::Every { first: 2, apart: 0, count: 1 }, 4, dim);
        check_rows(gpu, Rows::Every { first: 0, apart: 5, count: 0 }, 4, dim);
    }
}

#[test]
fn stretches_are_copied_and_added() {
    let Some(gpu) = gpu() else { return };
    for (offset, len, whole) in
        [(0, 0, 3), (0, 5, 5), (3, 1, 9), (4, 1024, 1030), (5, 2051, 2060), (8, 4096, 4104)]
    {
        let (part, all) = (values("part", len), values("all", whole));
        let (mut want, mut found) = (all.clone(), lent(gpu, &all));
        cpu::copy_to(offset, &part, &mut want);
        copy_to(gpu, offset, lent(gpu, &part).view(), found.view_mut()).unwrap();
        same(&format!("{len} numbers to {offset}"), &taken(gpu, &found), &want);
        let (mut want, mut found) = (part.clone(), lent(gpu, &part));
        cpu::add_from(offset, &all, &mut want);
        add_from(gpu, offset, lent(gpu, &all).view(), found.view_mut()).unwrap();
        same(&format!("{len} numbers from {offset}"), &taken(gpu, &found), &want);
    }
}
