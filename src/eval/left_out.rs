//! Pictures that can't be read: each is named once, however many epochs meet it.

use std::collections::BTreeSet;

use super::features::Unreadable;
use crate::data::source::Images;

/// What was met so far.
#[derive(Debug, Default)]
pub struct LeftOut {
    known: BTreeSet<usize>,
    untold: Vec<String>,
}

impl LeftOut {
    /// Takes note of a source's pictures.
    pub fn met(&mut self, images: &dyn Images, unreadable: Vec<Unreadable>) {
        for Unreadable { index, reason } in unreadable {
            if self.known.insert(index) {
                self.untold.push(format!("left out {}: {reason}", images.name(index)));
            }
        }
    }

    /// Says a line of each that was not told of before.
    pub fn tell(&mut self, say: impl FnMut(String)) {
        self.untold.drain(..).for_each(say);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::{Synthetic, SyntheticParams};

    #[test]
    fn a_picture_is_named_once() {
        let images = Synthetic::open(&SyntheticParams { count: 9, ..SyntheticParams::default() }).unwrap();
        let mut left_out = LeftOut::default();
        let mut check = |met: &[usize], expected: usize| {
            let of = |&index: &usize| Unreadable { index, reason: "it is empty".into() };
            left_out.met(&images, met.iter().map(of).collect());
            let mut told = Vec::new();
            left_out.tell(|line| told.push(line));
            assert_eq!(told.len(), expected, "{met:?}: {told:?}");
            assert!(told.iter().all(|line| line.ends_with(": it is empty")), "{told:?}");
        };
        check(&[3, 5], 2);
        check(&[5, 3, 7], 1);
        check(&[], 0);
    }
}
