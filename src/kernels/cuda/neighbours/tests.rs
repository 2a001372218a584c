use std::ops::Range;

use super::{AT_ONCE, Search, nearest, unit};
use crate::kernels::cuda::probe;
use crate::kernels::probe::values;
use crate::kernels::{Neighbours, cpu, scalar};

/// Whole numbers: products of them are exact in any order, and many are equal.
fn whole(name: &str, n: usize) -> Vec<f32> {
    values(name, n).into_iter().map(|x| x.round()).collect()
}

/// What the GPU finds with so many similarities at once.
fn found(
    (dim, most, which): (usize, usize, Range<usize>),
    queries: &[f32],
    (rows, bank): (usize, &[f32]),
    similarities: usize,
) -> Option<Vec<Neighbours>> {
    let gpu = probe::gpu()?;
    let (queries, bank) = (probe::lent(gpu, queries), probe::lent(gpu, bank));
    let search = Search::new(gpu, dim, which, queries.view(), (rows, bank.view()), similarities);
    Some(search.nearest(most).unwrap())
}

#[test]
fn neighbours_are_their_twins_bit_for_bit_where_products_are_exact() {
    for (dim, most, which, rows, similarities) in [
        // one query, one row; more neighbours than rows; none at all
        (1, 1, 0..1, 1, 1 << 20),
        (3, 200, 0..1, 130, 1 << 20),
        (5, 3, 2..2, 9, 1 << 20),
        (4, 0, 0..2, 5, 1 << 20),
        // stretches of one row, of 32, of 4,992; the last one shorter
        (7, 5, 3..40, 50, 1),
        (7, 20, 1..24, 3001, 800),
        (6, 200, 3..6, 11_003, 15_000),
        // all that a block holds, and more than are looked for at once
        (9, AT_ONCE, 0..2, 2777, 1 << 20),
        (9, AT_ONCE + 1, 0..3, 2777, 3000),
        (9, 2 * AT_ONCE + 300, 0..2, 2200, 1 << 20),
        // the earlier pass leaves nobody
        (2, 3000, 0..2, 1030, 1 << 20),
    ] {
        // rows behind those that are meant
        let (queries, bank) = (whole("queries", which.end * dim + 3), whole("bank", (rows + 2) * dim));
        let shape = (dim, most, which.clone());
        let Some(found) = found(shape.clone(), &queries, (rows, &bank), similarities) else { return };
        let slow = scalar::neighbours::nearest(dim, most, which, &queries, rows, &bank);
        assert!(found == slow, "{shape:?} {rows} {similarities}: {found:?}; expected {slow:?}");
    }
}

#[test]
fn equals_are_told_apart_by_their_places_wherever_they_stand() {
    let bank = [3.0, 4.0].repeat(5000);
    let Some(found) = found((2, 200, 0..2), &[3.0, 4.0, -1.0, 0.0], (5000, &bank), 3000) else { return };
    for (near, product) in found.iter().zip([25.0, -3.0]) {
        assert_eq!(*near, (0..200).map(|at| (product, at)).collect::<Neighbours>());
    }
}

#[test]
fn any_order_of_the_bank_is_gone_through() {
    // nearer and nearer, so that every one is kept for a while; the other way round; and both signs
    let rising: Vec<f32> = (0..9000).map(|i| i as f32 - 4500.0).collect();
    let falling: Vec<f32> = rising.iter().rev().copied().collect();
    for bank in [rising, falling] {
        for similarities in [2 * 1000, 1 << 20] {
            let shape = (1, 200, 0..2);
            let Some(found) = found(shape, &[1.0, -2.0], (9000, &bank), similarities) else { return };
            assert_eq!(found, scalar::neighbours::nearest(1, 200, 0..2, &[1.0, -2.0], 9000, &bank));
        }
    }
}

#[test]
fn what_is_no_number_is_nobodys() {
    let bank = [1.0, f32::NAN, f32::NEG_INFINITY, 2.0, f32::INFINITY, 0.0];
    let Some(found) = found((1, 6, 0..3), &[1.0, f32::NAN, -1.0], (6, &bank), 1 << 20) else { return };
    let infinity = f32::INFINITY;
    assert_eq!(found[0], [(infinity, 4), (2.0, 3), (1.0, 0), (0.0, 5)]);
    assert_eq!(found[1], []);
    assert_eq!(found[2].iter().map(|one| one.1).collect::<Vec<_>>(), [2, 5, 0, 3]);
}

#[test]
fn features_have_the_processors_neighbours_but_for_rounding() {
    let Some(gpu) = probe::gpu() else { return };
    let (dim, count, rows) = (67, 33, 4777);
    let (mut queries, mut bank) = (values("queries", count * dim), values("bank", rows * dim));
    cpu::neighbours::unit(count, dim, &mut queries);
    cpu::neighbours::unit(rows, dim, &mut bank);
    let on_gpu = [probe::lent(gpu, &queries), probe::lent(gpu, &bank)];
    let found = nearest(gpu, dim, 20, 0..count, on_gpu[0].view(), rows, on_gpu[1].view());
    let wanted = cpu::neighbours::nearest(dim, 20, 0..count, &queries, rows, &bank);
    for (q, (found, wanted)) in found.unwrap().iter().zip(&wanted).enumerate() {
        assert_eq!(found.len(), 20);
        for (found, wanted) in found.iter().zip(wanted) {
            let row = &bank[found.1 as usize * dim..][..dim];
            let own: f64 =
                queries[q * dim..].iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((f64::from(found.0) - own).abs() < 1e-6, "{found:?} {own}");
            assert!((found.0 - wanted.0).abs() < 1e-6, "{found:?} {wanted:?}");
        }
    }
}

#[test]
fn rows_come_to_unit_length_as_their_twins_do() {
    let Some(gpu) = probe::gpu() else { return };
    for (rows, dim) in [(1, 1), (9, 33), (30, 384), (3, 1000)] {
        let mut x = values("x", (rows + 1) * dim);
        // a row of nothing
        x[..dim].fill(0.0);
        let mut lent = probe::lent(gpu, &x);
        unit(gpu, rows, dim, lent.view_mut()).unwrap();
        let found = probe::taken(gpu, &lent);
        assert_eq!(found[rows * dim..], x[rows * dim..], "what stands behind them");
        scalar::neighbours::unit(rows, dim, &mut x);
        probe::near("unit rows", 2e-7, &found, &x);
    }
}
