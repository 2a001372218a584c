//! Retrieval: how early what was asked for comes when all pictures are sorted by their likeness to a query.
//!
//! The measure is the one of Oxford and Paris (Philbin et al. 2007; revisited by Radenović et al. 2018, section 4): the area under the
//! curve of precision over recall by the trapezoidal rule, pictures that count neither for nor against (junk) taken out first.

pub mod classes;
pub mod ground_truth;
mod pickled;
pub mod pictures;
pub mod ranking;
pub mod revisited;

/// What a database picture is to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relevance {
    /// Asked for.
    Positive,
    /// Taken out of the ranking before it is judged.
    Junk,
    /// Anything else.
    Negative,
}

/// What one query's ranking is worth: shares, 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Average precision.
    pub precision: f64,
    /// Precision among the first k, for each of the k's that were asked.
    pub at: Vec<f64>,
}

/// Judges one ranking, best first, of a query that has `positives` positives in the database; `None` where it has none.
///
/// Precision among the first k is taken among fewer where the last positive stands earlier (as the revisited protocol does), so that a
/// query with two positives can reach 1 at k = 10. Positives that the ranking leaves out count as never found.
pub fn judge(
    ranking: &[u32],
    positives: usize,
    ks: &[usize],
    relevance: impl Fn(u32) -> Relevance,
) -> Option<Judgement> {
    if positives == 0 {
        return None;
    }
    let (mut found, mut rank) = (Vec::with_capacity(positives), 0);
    for &image in ranking {
        match relevance(image) {
            Relevance::Positive => found.push(rank),
            Relevance::Junk => continue,
            Relevance::Negative => {}
        }
        rank += 1;
    }
    let last = found.last().map_or(0, |rank| rank + 1);
    let among = |k: usize| {
        let first = k.min(last);
        let hits = found.iter().filter(|&&rank| rank < first).count();
        hits as f64 / first.max(1) as f64
    };
    Some(Judgement {
        precision: average_precision(&found, positives),
        at: ks.iter().map(|&k| among(k)).collect(),
    })
}

/// Average precision of positives at these ranks, which ascend from 0: each adds a strip of width 1 / `positives` below the line from
/// the precision just before it to the precision with it.
pub fn average_precision(ranks: &[usize], positives: usize) -> f64 {
    let strip = |(before, &rank): (usize, &usize)| {
        let left = if rank == 0 { 1.0 } else { before as f64 / rank as f64 };
        let right = (before + 1) as f64 / (rank + 1) as f64;
        (left + right) / 2.0
    };
    ranks.iter().enumerate().map(strip).sum::<f64>() / positives.max(1) as f64
}

/// The mean over queries that have a positive, and how many these are. `None` where no query has one.
pub fn mean(judged: &[Option<Judgement>]) -> Option<(Judgement, usize)> {
    let judged: Vec<&Judgement> = judged.iter().flatten().collect();
    let (first, count) = (judged.first()?, judged.len() as f64);
    let of = |value: &dyn Fn(&Judgement) -> f64| judged.iter().map(|j| value(j)).sum::<f64>() / count;
    let at = (0..first.at.len()).map(|k| of(&|j| j.at[k])).collect();
    Some((Judgement { precision: of(&|j| j.precision), at }, judged.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rankings written as letters: P positive, J junk, N negative; `positives` in the database; the expected figures.
    fn check(ranking: &str, positives: usize, precision: f64, at: [f64; 3]) {
        let kinds: Vec<char> = ranking.chars().collect();
        let order: Vec<u32> = (0..kinds.len() as u32).collect();
        let relevance = |image: u32| match kinds[image as usize] {
            'P' => Relevance::Positive,
            'J' => Relevance::Junk,
            _ => Relevance::Negative,
        };
        let found = judge(&order, positives, &[1, 5, 10], relevance).unwrap();
        assert!((found.precision - precision).abs() < 1e-12, "{ranking}: {found:?}");
        assert!(found.at.iter().zip(at).all(|(a, b)| (a - b).abs() < 1e-12), "{ranking}: {found:?}");
    }

    #[test]
    fn rankings_are_worth_the_area_below_their_curve() {
        check("PPP", 3, 1.0, [1.0; 3]);
        check("JJPJPJP", 3, 1.0, [1.0; 3]);
        // strips of the second and third rank: (0/1 + 1/2)/2 and (1/2 + 2/3)/2
        check("NPP", 2, (0.25 + 7.0 / 12.0) / 2.0, [0.0, 2.0 / 3.0, 2.0 / 3.0]);
        check("NJPJPJ", 2, (0.25 + 7.0 / 12.0) / 2.0, [0.0, 2.0 / 3.0, 2.0 / 3.0]);
        // half of the positives are not in the ranking at all
        check("P", 2, 0.5, [1.0; 3]);
        check("NNNN", 1, 0.0, [0.0; 3]);
        check("NNNNNNNNNNNP", 1, (1.0 / 12.0) / 2.0, [0.0; 3]);
    }

    #[test]
    fn a_query_without_positives_is_left_out_of_the_mean() {
        assert_eq!(judge(&[0, 1], 0, &[1], |_| Relevance::Negative), None);
        assert_eq!(mean(&[None, None]), None);
        let one = |precision| Some(Judgement { precision, at: vec![precision] });
        let (found, queries) = mean(&[one(1.0), None, one(0.5)]).unwrap();
        assert_eq!((found.precision, found.at[0], queries), (0.75, 0.75, 2));
    }
}
