use super::{effective_rank, first_choices};
use crate::kernels::cuda::probe;
use crate::kernels::probe::values;
use crate::kernels::scalar;

#[test]
fn choices_and_ranks_agree_with_their_twins() {
    let Some(gpu) = probe::gpu() else { return };
    for (rows, k) in [(1, 1), (3, 7), (5, 512), (130, 33), (3, 10_000), (2, 65_536)] {
        for shift in [0, 1] {
            let x = values("x", shift + rows * k);
            let lent = probe::lent(gpu, &x);
            let found = first_choices(gpu, rows, k, lent.view().slice(shift..x.len())).unwrap();
            assert_eq!(found, scalar::figures::first_choices(rows, k, &x[shift..]), "{rows} {k}");
        }
    }
    for (rows, dim) in [(2, 3), (5, 64), (33, 100), (70, 17)] {
        let x: Vec<f32> = values("x", rows * dim).iter().map(|x| x + 3.0).collect();
        let found = effective_rank(gpu, rows, dim, probe::lent(gpu, &x).view()).unwrap();
        let slow = scalar::figures::effective_rank(rows, dim, &x);
        assert!((found - slow).abs() < 1e-5 * slow, "{rows} {dim}: {found} {slow}");
    }
}

#[test]
fn a_rank_counts_directions() {
    let Some(gpu) = probe::gpu() else { return };
    let rank = |rows: &[[f32; 3]]| {
        effective_rank(gpu, rows.len(), 3, probe::lent(gpu, rows.as_flattened()).view()).unwrap()
    };
    // far from the origin, so that the mean counts for nothing
    assert_eq!(rank(&[[100.0, 5.0, 5.0]; 4]), 0.0);
    assert!((rank(&[[101.0, 5.0, 5.0], [99.0, 5.0, 5.0]]) - 1.0).abs() < 1e-6);
    let square = [[101.0, 5.0, 5.0], [99.0, 5.0, 5.0], [100.0, 6.0, 5.0], [100.0, 4.0, 5.0]];
    assert!((rank(&square) - 2.0).abs() < 1e-6);
}

#[test]
fn the_first_of_equals_is_chosen_and_of_rows_with_nan_the_first_of_all() {
    let Some(gpu) = probe::gpu() else { return };
    let (nan, low) = (f32::NAN, f32::NEG_INFINITY);
    let mut x = vec![0.0, 7.0, 7.0, -1.0, -2.0, -1.5, 1.0, nan, 2.0, low, low, low, low, low, -3.0];
    let choices = first_choices(gpu, 5, 3, probe::lent(gpu, &x).view()).unwrap();
    assert_eq!(choices, [1, 0, 0, 0, 2]);
    // equals far apart, seen by different warps
    x = vec![0.0; 20_000];
    (x[19_000], x[7777]) = (1.0, 1.0);
    assert_eq!(first_choices(gpu, 1, 20_000, probe::lent(gpu, &x).view()).unwrap(), [7777]);
}
