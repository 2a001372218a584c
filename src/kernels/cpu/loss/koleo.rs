//! The Kozachenko-Leonenko entropy estimator as a loss: every row is pushed from its nearest neighbour (Sablayrolles et al. 2019).

use crate::kernels::cpu::lanes::{dot, mul_add};
use crate::kernels::cpu::split::each_part;

/// Keeps distances and logarithms from zero.
const EPS: f32 = 1e-8;

/// Σ over groups of -mean log(‖x - nearest(x) + ε‖ + ε) over their rows, the nearest by inner product among rows of unit length; and
/// its gradient times `weight`, which does not flow through the choice. The first groups · rows · dim of x are looked at; dx is
/// overwritten, with zeros where nothing is looked at. `rows` is 2 or more.
pub fn koleo(groups: usize, rows: usize, dim: usize, x: &[f32], weight: f32, dx: &mut [f32]) -> f64 {
    assert_eq!(x.len(), dx.len(), "x and dx");
    assert!(x.len() >= groups * rows * dim && rows > 1 && dim > 0, "two rows or more in each group");
    dx.fill(0.0);
    let mut loss = 0.0;
    for (x, dx) in x.chunks_exact(rows * dim).zip(dx.chunks_exact_mut(rows * dim)).take(groups) {
        let mut neighbours = vec![0usize; rows];
        each_part(1, &mut neighbours, |own, nearest| nearest[0] = nearest_row(own, dim, x));
        let mut apart = vec![0.0; dim];
        for (own, &nearest) in neighbours.iter().enumerate() {
            let distance = difference(&x[own * dim..][..dim], &x[nearest * dim..][..dim], &mut apart);
            let (distance, eps) = (f64::from(distance), f64::from(EPS));
            loss -= (distance + eps).ln() / rows as f64;
            let slope = -f64::from(weight) / rows as f64 / (distance + eps) / distance;
            add_scaled(slope as f32, &apart, &mut dx[own * dim..][..dim]);
            add_scaled(-slope as f32, &apart, &mut dx[nearest * dim..][..dim]);
        }
    }
    loss
}

vectorised! {
    /// The first of the rows with the largest inner product with row `own`, which itself does not count.
    fn nearest_row<I>(own: usize, dim: usize, x: &[f32]) -> usize {
        let row = &x[own * dim..][..dim];
        let (mut nearest, mut most) = (usize::from(own == 0), f32::NEG_INFINITY);
        for (other, x) in x.chunks_exact(dim).enumerate() {
            let product = dot::<I>(row, x);
            if other != own && product > most {
                (nearest, most) = (other, product);
            }
        }
        nearest
    }

    /// apart = a - b + ε, and its length.
    fn difference<I>(a: &[f32], b: &[f32], apart: &mut [f32]) -> f32 {
        for ((apart, a), b) in apart.iter_mut().zip(a).zip(b) {
            *apart = a - b + EPS;
        }
        dot::<I>(apart, apart).sqrt()
    }

    fn add_scaled<I>(scale: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = mul_add::<I>(scale, *x, *y);
        }
    }
}
