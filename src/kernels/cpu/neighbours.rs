//! The rows of a bank that are nearest to queries.

use std::ops::Range;

use rayon::prelude::*;

use super::linear;
use crate::kernels::{Neighbours, Products};

/// Rows of the bank that queries are compared with at once: of the sizes tried the fastest, with 1,024 queries
/// (`cargo bench --bench knn`), for 16 MiB of similarities.
const COLUMNS: usize = 4096;

/// Similarities that are passed over at once when none of them is near enough.
const STRETCH: usize = 64;

/// A row's length is taken for this where it is less.
const SHORTEST: f64 = 1e-12;

/// Brings the first `rows` rows to unit length, each where it stands.
pub fn unit(rows: usize, dim: usize, x: &mut [f32]) {
    assert!(x.len() >= rows * dim, "{rows} rows of {dim}");
    x[..rows * dim].par_chunks_exact_mut(dim.max(1)).for_each(|row| {
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(SHORTEST) as f32;
        row.iter_mut().for_each(|x| *x /= norm);
    });
}

/// For each of the queries `which` the `most` of the bank's first `rows` rows whose products with it are largest, nearest first, of
/// equals the earlier one first. A product that is NaN or minus infinity is nobody's. Memory is `COLUMNS` + 4 `most` numbers a query.
pub fn nearest(
    dim: usize,
    most: usize,
    which: Range<usize>,
    queries: &[f32],
    rows: usize,
    bank: &[f32],
) -> Vec<Neighbours> {
    assert!(
        queries.len() >= which.end * dim && bank.len() >= rows * dim,
        "{which:?} and {rows} rows of {dim}"
    );
    let (count, most) = (which.len(), most.min(rows));
    let (block, bank) = (&queries[which.start * dim..which.end * dim], &bank[..rows * dim]);
    let mut found: Vec<Nearest> = (0..count).map(|_| Nearest::new(most)).collect();
    let mut similar = vec![0.0; count * COLUMNS.min(rows)];
    for (part, columns) in bank.chunks(COLUMNS * dim).enumerate() {
        let columns_count = columns.len() / dim;
        let similar = &mut similar[..count * columns_count];
        let (block, out) = (block.into(), (&mut *similar).into());
        linear::forward(Products::F32, count, dim, columns_count, block, columns, None, out);
        let first = (part * COLUMNS) as u32;
        found
            .par_iter_mut()
            .zip(similar.par_chunks(columns_count))
            .for_each(|(near, row)| near.look(row, first));
    }
    found.into_par_iter().map(Nearest::sorted).collect()
}

/// The nearest of the rows that were looked at, and up to as many that may be among them.
struct Nearest {
    most: usize,
    kept: Neighbours,
    /// What is no nearer is none of the nearest.
    bar: f32,
}

impl Nearest {
    fn new(most: usize) -> Self {
        Nearest { most, kept: Vec::with_capacity(2 * most), bar: f32::NEG_INFINITY }
    }

    /// Looks at the similarities of the bank's rows from `first` on.
    fn look(&mut self, similarities: &[f32], first: u32) {
        for (at, stretch) in similarities.chunks(STRETCH).enumerate() {
            if largest(stretch) <= self.bar {
                continue;
            }
            for (column, &similarity) in stretch.iter().enumerate() {
                if similarity > self.bar {
                    self.kept.push((similarity, first + (at * STRETCH + column) as u32));
                    self.raise();
                }
            }
        }
    }

    /// Lets go of those that are none of the nearest, once they are as many: a choice costs less than an order kept throughout.
    fn raise(&mut self) {
        if self.kept.len() == 2 * self.most {
            self.kept.select_nth_unstable_by(self.most - 1, nearer);
            self.kept.truncate(self.most);
            self.bar = self.kept[self.most - 1].0;
        }
    }

    fn sorted(mut self) -> Neighbours {
        self.kept.sort_unstable_by(nearer);
        self.kept.truncate(self.most);
        self.kept
    }
}

/// The nearer one first, of equals the earlier.
fn nearer(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// The largest of finite numbers, by lanes that a compiler joins into vectors.
fn largest(numbers: &[f32]) -> f32 {
    let (lanes, rest) = numbers.as_chunks::<16>();
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let mut most = [f32::NEG_INFINITY; 16];
    for lane in lanes {
        most.iter_mut().zip(lane).for_each(|(most, &x)| *most = larger(*most, x));
    }
    most.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::probe::values;
    use crate::kernels::scalar;

    #[test]
    fn neighbours_are_their_twins() {
        // whole numbers, whose products are exact in any order, and many of which are equal
        let rows =
            |name: &str, n: usize| -> Vec<f32> { values(name, n).into_iter().map(|x| x.round()).collect() };
        for (dim, most, which, bank) in [
            (7, 20, 3..130, COLUMNS + 77),
            (1, 3, 0..1, 1),
            (3, 200, 0..5, 130),
            (5, 1, 2..2, 9),
            (4, 0, 0..2, 5),
        ] {
            let (queries, rows_of_bank) = (rows("queries", which.end * dim), rows("bank", (bank + 2) * dim));
            let fast = nearest(dim, most, which.clone(), &queries, bank, &rows_of_bank);
            let slow = scalar::neighbours::nearest(dim, most, which.clone(), &queries, bank, &rows_of_bank);
            assert_eq!(fast, slow, "{dim} {most} {which:?} {bank}");
        }
    }

    #[test]
    fn of_equals_the_earlier_ones_are_nearer_and_what_is_no_number_is_nobodys() {
        let bank = [0.6, 0.8].repeat(300);
        let near = nearest(2, 10, 0..1, &[0.6, 0.8], 300, &bank);
        assert_eq!(near[0].iter().map(|one| one.1).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        let near = nearest(1, 4, 0..1, &[1.0], 4, &[1.0, f32::NAN, f32::NEG_INFINITY, 2.0]);
        assert_eq!(near, [[(2.0, 3), (1.0, 0)]]);
    }

    #[test]
    fn the_largest_of_any_number_of_numbers_is_found() {
        for count in [1, 15, 16, 17, 64] {
            let numbers: Vec<f32> = (0..count).map(|i| ((i * 7) % count) as f32 - 100.0).collect();
            let expected = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(largest(&numbers), expected, "{count}");
        }
    }

    #[test]
    fn rows_come_to_unit_length_where_they_stand() {
        let mut x = [3.0, 4.0, 0.0, 0.0, 5.0, 12.0];
        unit(2, 2, &mut x);
        assert_eq!(x, [0.6, 0.8, 0.0, 0.0, 5.0, 12.0]);
    }
}
