//! All database pictures in the order of their likeness to each query.

use rayon::prelude::*;

use crate::kernels::Products;
use crate::kernels::cpu::linear;

/// Queries that are ranked at once: their similarities to the whole database are what memory it takes.
const QUERIES: usize = 64;

/// Calls `judge` with each query and the database's indices, the likest first (of equals the earlier one first), and returns what it
/// says in the queries' order. `database` (n, dim) and `queries` (q, dim) are rows of unit length.
pub fn each<T: Send>(
    dim: usize,
    database: &[f32],
    queries: &[f32],
    judge: impl Fn(usize, &[u32]) -> T + Sync,
) -> Vec<T> {
    let count = database.len() / dim.max(1);
    let mut judged = Vec::with_capacity(queries.len() / dim.max(1));
    let mut similar = vec![0.0f32; QUERIES * count];
    for (part, block) in queries.chunks(QUERIES * dim.max(1)).enumerate() {
        let rows = block.len() / dim;
        let similar = &mut similar[..rows * count];
        linear::forward(
            Products::F32,
            rows,
            dim,
            count,
            block.into(),
            database,
            None,
            (&mut *similar).into(),
        );
        let one = |row: usize| judge(part * QUERIES + row, &sorted(&similar[row * count..][..count]));
        judged.par_extend((0..rows).into_par_iter().map(one));
    }
    judged
}

/// Indices by falling similarity. A similarity that is no number comes last.
fn sorted(similar: &[f32]) -> Vec<u32> {
    let key = |&index: &u32| {
        let value = similar[index as usize];
        if value.is_nan() { f32::NEG_INFINITY } else { value }
    };
    let mut order: Vec<u32> = (0..similar.len() as u32).collect();
    order.sort_by(|a, b| key(b).total_cmp(&key(a)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::Key;

    #[test]
    fn blocks_agree_with_the_obvious_way() {
        for (dim, count, queries) in [(5, 130, QUERIES + 3), (1, 1, 1), (3, 7, 2)] {
            let mut draws = Key::new(dim as u64).draws();
            let mut rows = |n: usize| (0..n * dim).map(|_| draws.normal() as f32).collect::<Vec<_>>();
            let (database, asked) = (rows(count), rows(queries));
            let found = each(dim, &database, &asked, |query, order| (query, order.to_vec()));
            assert_eq!(found.len(), queries);
            for (at, (query, order)) in found.iter().enumerate() {
                assert_eq!(at, *query);
                let like = |image: u32| -> f64 {
                    let (a, b) = (&asked[at * dim..][..dim], &database[image as usize * dim..][..dim]);
                    a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum()
                };
                assert!(order.windows(2).all(|pair| like(pair[0]) >= like(pair[1]) - 1e-5), "{order:?}");
                let mut all = order.clone();
                all.sort_unstable();
                assert_eq!(all, (0..count as u32).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn equals_keep_their_order_and_what_is_no_number_comes_last() {
        assert_eq!(sorted(&[1.0, f32::NAN, 2.0, 1.0]), [2, 0, 3, 1]);
        assert!(each(2, &[], &[1.0, 0.0], |_, order| order.len()) == [0]);
    }
}
