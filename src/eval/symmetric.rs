//! Eigenvalues and eigenvectors of a symmetric matrix without negative ones: covariances, second moments.
//!
//! One-sided Jacobi rotations (Hestenes 1958): rows of the matrix are turned against each other until all are at right angles; their
//! lengths are then the eigenvalues, and the turns together the eigenvectors. Pairs are taken in rounds without a row in common, so that
//! a round's turns are done side by side and give the same bits in any order.

use rayon::prelude::*;

/// What a symmetric matrix is made of.
pub struct Eigen {
    /// Falling.
    pub values: Vec<f64>,
    /// (dim, dim), row i of unit length belongs to value i.
    pub vectors: Vec<f64>,
}

/// Sweeps over all pairs after which the rows are taken as they are. Ten are plenty.
const SWEEPS: usize = 30;
/// Cosine of the angle at which two rows count as being at right angles.
const RIGHT: f64 = 1e-14;

/// One row of the matrix, and of the turns.
struct Row {
    image: Vec<f64>,
    turn: Vec<f64>,
}

/// Takes apart a symmetric matrix (dim, dim) without negative eigenvalues.
pub fn eigen(dim: usize, matrix: Vec<f64>) -> Eigen {
    let unit = |i: usize| (0..dim).map(|j| f64::from(u8::from(i == j))).collect();
    let mut rows: Vec<Row> = matrix
        .chunks_exact(dim.max(1))
        .enumerate()
        .map(|(i, row)| Row { image: row.to_vec(), turn: unit(i) })
        .collect();
    // an odd row out waits for its turn
    let places = dim + dim % 2;
    let mut order: Vec<usize> = (0..places).collect();
    for _ in 0..SWEEPS {
        let mut turned = false;
        for _ in 1..places {
            turned |= round(&mut rows, &order);
            order[1..].rotate_right(1);
        }
        if !turned {
            break;
        }
    }
    let length = |row: &Row| dot(&row.image, &row.image).sqrt();
    rows.sort_by(|a, b| length(b).total_cmp(&length(a)));
    Eigen {
        values: rows.iter().map(length).collect(),
        vectors: rows.into_iter().flat_map(|row| row.turn).collect(),
    }
}

/// Turns the pairs of one round: first with last, second with last but one. Whether any was turned.
fn round(rows: &mut [Row], order: &[usize]) -> bool {
    let half = order.len() / 2;
    let mut slots: Vec<Option<&mut Row>> = rows.iter_mut().map(Some).collect();
    let mut take = |place: usize| slots.get_mut(order[place]).and_then(Option::take);
    let pairs: Vec<_> = (0..half).map(|i| (take(i), take(order.len() - 1 - i))).collect();
    let turn = |pair: (Option<&mut Row>, Option<&mut Row>)| match pair {
        (Some(a), Some(b)) => straighten(a, b),
        _ => false,
    };
    pairs.into_par_iter().map(turn).reduce(|| false, |a, b| a | b)
}

/// Turns two rows so that they are at right angles. False where they were.
fn straighten(a: &mut Row, b: &mut Row) -> bool {
    let (aa, bb, ab) = (dot(&a.image, &a.image), dot(&b.image, &b.image), dot(&a.image, &b.image));
    if ab.abs() <= RIGHT * (aa * bb).sqrt() || ab == 0.0 {
        return false;
    }
    let slope = (bb - aa) / (2.0 * ab);
    let tan = slope.signum() / (slope.abs() + slope.hypot(1.0));
    let cos = 1.0 / tan.hypot(1.0);
    let sin = cos * tan;
    for (x, y) in [(&mut a.image, &mut b.image), (&mut a.turn, &mut b.turn)] {
        for (x, y) in x.iter_mut().zip(y) {
            (*x, *y) = (cos * *x - sin * *y, sin * *x + cos * *y);
        }
    }
    true
}

/// In eight running sums, which a processor adds at once.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::Key;

    #[test]
    fn a_matrix_is_put_together_again() {
        for (dim, rank) in [(1, 1), (2, 2), (7, 7), (12, 5), (33, 40)] {
            let mut draws = Key::new(dim as u64).draws();
            let factors: Vec<f64> = (0..rank * dim).map(|_| draws.normal()).collect();
            let at = |i: usize, j: usize| factors.chunks_exact(dim).map(|row| row[i] * row[j]).sum::<f64>();
            let matrix: Vec<f64> = (0..dim * dim).map(|k| at(k / dim, k % dim)).collect();
            let Eigen { values, vectors } = eigen(dim, matrix.clone());
            assert!(values.windows(2).all(|pair| pair[0] >= pair[1]), "{values:?}");
            for (k, expected) in matrix.iter().enumerate() {
                let terms = vectors.chunks_exact(dim).zip(&values).map(|(v, e)| e * v[k / dim] * v[k % dim]);
                assert!((terms.sum::<f64>() - expected).abs() < 1e-9 * values[0], "{dim}: {k}");
            }
            for (i, v) in vectors.chunks_exact(dim).enumerate() {
                for (j, w) in vectors.chunks_exact(dim).enumerate() {
                    let expected = f64::from(u8::from(i == j));
                    assert!((dot(v, w) - expected).abs() < 1e-12, "{dim}: {i} {j}");
                }
            }
        }
    }

    #[test]
    fn nothing_and_zeros_are_taken_apart_too() {
        assert!(eigen(0, Vec::new()).values.is_empty());
        assert_eq!(eigen(3, vec![0.0; 9]).values, [0.0; 3]);
    }
}
