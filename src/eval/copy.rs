//! Copy detection on Copydays (Douze et al. 2009): is the picture that a copy was made of found among originals and distractors?
//!
//! What the published script `eval_copy_detection.py` does: the CLS token beside the generalised mean of the patches, whitened if there
//! are pictures to learn that from, brought to unit length; originals ranked for each copy, of which the first 20 count.

pub mod features;
pub mod whitening;

use crate::eval::retrieval::ranking::each;
use crate::eval::retrieval::{Relevance, judge, mean};

/// Ranks that the published script looks at.
pub const DEPTH: usize = 20;

/// For each copy the originals it was made of: those whose names begin with the same four digits, `200000.jpg` for `200001.jpg`.
pub fn sources(originals: &[String], copies: &[String]) -> Vec<Vec<u32>> {
    let block = |name: &String| name.chars().take(4).collect::<String>();
    let blocks: Vec<String> = originals.iter().map(block).collect();
    let of = |copy: &String| {
        let own = block(copy);
        (0..blocks.len() as u32).filter(|&i| blocks[i as usize] == own).collect()
    };
    copies.iter().map(of).collect()
}

/// Mean average precision, 0 to 1, over the queries that have a source, and how many these are. `database` and `queries` are rows of unit
/// length, `sources` for each query the rows of the database that it was made of; the first `depth` ranks count.
pub fn precision(
    dim: usize,
    database: &[f32],
    queries: &[f32],
    sources: &[Vec<u32>],
    depth: usize,
) -> Option<(f64, usize)> {
    let judged = each(dim, database, queries, |query, order| {
        let own = &sources[query];
        judge(&order[..depth.min(order.len())], own.len(), &[], |image| match own.contains(&image) {
            true => Relevance::Positive,
            false => Relevance::Negative,
        })
    });
    mean(&judged).map(|(judgement, queries)| (judgement.precision, queries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copys_source_has_its_first_four_digits() {
        let names = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let originals = names(&["200000.jpg", "200100.jpg", "200200.jpg"]);
        let found = sources(&originals, &names(&["200101.jpg", "200001.jpg", "200002.jpg", "999901.jpg"]));
        assert_eq!(found, [vec![1], vec![0], vec![0], vec![]]);
    }

    #[test]
    fn ranks_beyond_the_depth_are_not_found() {
        let database = [1.0, 0.0, 0.8, 0.6, 0.0, 1.0];
        let queries = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0];
        let of = |depth| precision(2, &database, &queries, &[vec![0], vec![0], vec![]], depth).unwrap();
        assert_eq!(of(3), ((1.0 + 1.0 / 6.0) / 2.0, 2));
        assert_eq!(of(1), (0.5, 2));
        assert_eq!(precision(2, &database, &queries[..2], &[vec![]], 3), None);
    }
}
