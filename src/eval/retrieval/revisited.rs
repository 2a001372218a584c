//! The three protocols of revisited Oxford and Paris (Radenović et al. 2018, section 4): what counts for and against.

use super::ground_truth::Answer;
use super::{Judgement, Relevance, judge};

/// Which answers are asked for, and which are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Easy ones are asked for, hard ones are left out.
    Easy,
    /// Both are asked for.
    Medium,
    /// Hard ones are asked for, easy ones are left out.
    Hard,
}

impl Protocol {
    pub const ALL: [Protocol; 3] = [Protocol::Easy, Protocol::Medium, Protocol::Hard];

    /// The word in tables and results.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Easy => "easy",
            Protocol::Medium => "medium",
            Protocol::Hard => "hard",
        }
    }
}

/// The numbers of first pictures among which precision is told.
pub const KS: [usize; 3] = [1, 5, 10];

/// Judges one query's ranking of a database of `images` by a protocol; `None` where the protocol has no positive for it.
pub fn judged(ranking: &[u32], images: usize, answer: &Answer, protocol: Protocol) -> Option<Judgement> {
    let mut kinds = vec![Relevance::Negative; images];
    let mut mark = |indices: &[u32], kind| indices.iter().for_each(|&i| kinds[i as usize] = kind);
    mark(&answer.junk, Relevance::Junk);
    let of = |asked| if asked { Relevance::Positive } else { Relevance::Junk };
    mark(&answer.easy, of(protocol != Protocol::Hard));
    mark(&answer.hard, of(protocol != Protocol::Easy));
    let positives = kinds.iter().filter(|&&kind| kind == Relevance::Positive).count();
    judge(ranking, positives, &KS, |image| kinds[image as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_asks_for_its_own() {
        let answer = Answer { region: None, easy: vec![1], hard: vec![3], junk: vec![0] };
        let ranking = [0, 1, 2, 3, 4];
        let precision = |protocol| judged(&ranking, 5, &answer, protocol).unwrap().precision;
        assert_eq!(precision(Protocol::Easy), 1.0);
        // without the junk before it: 1 easy, 2, 3 hard
        assert!((precision(Protocol::Medium) - (1.0 + (0.5 + 2.0 / 3.0) / 2.0) / 2.0).abs() < 1e-12);
        assert!((precision(Protocol::Hard) - 0.25).abs() < 1e-12);
        let none = Answer { hard: vec![], ..answer };
        assert_eq!(judged(&ranking, 5, &none, Protocol::Hard), None);
    }
}
