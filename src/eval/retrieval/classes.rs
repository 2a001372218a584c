//! Retrieval by class, for labelled pictures without a ground truth of their own: every picture asks for the others of its class.

use super::ranking::each;
use super::{Judgement, Relevance, judge, mean};
use crate::eval::knn::Labelled;

/// The mean over all pictures that are not alone in their class, how many these are; precision among the first `ks`.
/// `None` where every picture is alone.
pub fn leave_one_out(rows: &Labelled, ks: &[usize]) -> Option<(Judgement, usize)> {
    let classes = rows.labels.iter().max().map_or(0, |&class| class as usize + 1);
    let mut sizes = vec![0usize; classes];
    rows.labels.iter().for_each(|&class| sizes[class as usize] += 1);
    let judged = each(rows.dim, &rows.features, &rows.features, |query, order| {
        let class = rows.labels[query];
        judge(order, sizes[class as usize] - 1, ks, |image| match image as usize == query {
            true => Relevance::Junk,
            false if rows.labels[image as usize] == class => Relevance::Positive,
            false => Relevance::Negative,
        })
    });
    mean(&judged)
}

/// The mean over all rows of `queries` whose class is in `database`, and how many these are.
pub fn across(database: &Labelled, queries: &Labelled, ks: &[usize]) -> Option<(Judgement, usize)> {
    let judged = each(database.dim, &database.features, &queries.features, |query, order| {
        let class = queries.labels[query];
        let positives = database.labels.iter().filter(|&&other| other == class).count();
        judge(order, positives, ks, |image| match database.labels[image as usize] == class {
            true => Relevance::Positive,
            false => Relevance::Negative,
        })
    });
    mean(&judged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_never_finds_itself() {
        let rows = Labelled::normalized(2, vec![1.0, 0.0, 1.0, 0.1, 0.0, 1.0, 0.1, 1.0], vec![0, 0, 1, 1]);
        let (found, queries) = leave_one_out(&rows, &[1]).unwrap();
        assert_eq!((found.precision, found.at[0], queries), (1.0, 1.0, 4));
        let crossed = Labelled { labels: vec![0, 1, 0, 1], ..rows.clone() };
        assert!(leave_one_out(&crossed, &[1]).unwrap().0.precision < 0.5);
        let alone = Labelled { labels: vec![0, 1, 2, 3], ..rows.clone() };
        assert_eq!(leave_one_out(&alone, &[1]), None);
        assert_eq!(across(&rows, &rows, &[1]).unwrap().0.precision, 1.0);
    }
}
