//! Rows that a kernel reads and writes where they stand among others, so that nobody copies them together first.

use std::ops::Range;

/// Some rows of a matrix, numbered from 0 in the order in which they stand there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rows<'a> {
    /// All of a matrix of so many.
    All(usize),
    /// Those of some images, named in ascending order; every image has `each` rows.
    Of { images: &'a [usize], each: usize },
    /// So many, from row `first` on and `apart` rows from one to the next.
    Every { first: usize, apart: usize, count: usize },
}

impl Rows<'_> {
    /// How many there are.
    pub fn len(self) -> usize {
        match self {
            Rows::All(count) | Rows::Every { count, .. } => count,
            Rows::Of { images, each } => images.len() * each,
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Where one of them stands.
    pub fn at(self, row: usize) -> usize {
        match self {
            Rows::All(_) => row,
            Rows::Of { images, each } => images[row / each] * each + row % each,
            Rows::Every { first, apart, .. } => first + row * apart,
        }
    }

    /// Panics unless they are rows of a matrix of so many numbers, `width` to a row, each named once.
    pub fn assert_within(self, width: usize, numbers: usize) {
        match self {
            Rows::All(count) => assert_eq!(count * width, numbers, "{count} rows of {width}"),
            Rows::Of { images, .. } => {
                assert!(images.is_sorted_by(|a, b| a < b), "images in ascending order")
            }
            Rows::Every { apart, count, .. } => assert!(apart > 0 || count < 2, "rows apart"),
        }
        let end = self.len().checked_sub(1).map_or(0, |last| self.at(last) + 1);
        assert!(end * width <= numbers, "{end} rows of {width} in {numbers} numbers");
    }

    /// Stretches of `rows` of them that stand together, and where the first of each stands.
    pub fn runs(self, rows: Range<usize>) -> impl Iterator<Item = (Range<usize>, usize)> {
        let together = match self {
            Rows::All(count) => count,
            Rows::Of { each, .. } => each,
            Rows::Every { .. } => 1,
        };
        let mut start = rows.start;
        std::iter::from_fn(move || {
            let end = rows.end.min((start / together.max(1) + 1) * together.max(1));
            let run = start..end;
            start = end;
            (!run.is_empty()).then(|| (run.clone(), self.at(run.start)))
        })
    }

    /// The stretches between them in a matrix of so many rows.
    pub fn others(self, total: usize) -> impl Iterator<Item = Range<usize>> {
        let runs = self.runs(0..self.len()).map(|(run, at)| (at, at + run.len()));
        let mut past = 0;
        runs.chain([(total, total)]).map(move |(at, end)| std::mem::replace(&mut past, end)..at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: [Rows<'_>; 6] = [
        Rows::All(7),
        Rows::All(0),
        Rows::Of { images: &[0, 2, 3], each: 3 },
        Rows::Of { images: &[1], each: 1 },
        Rows::Of { images: &[], each: 4 },
        Rows::Every { first: 2, apart: 5, count: 3 },
    ];

    #[test]
    fn runs_and_what_is_between_them_are_all_rows() {
        for rows in SOME {
            let end = (0..rows.len()).map(|row| rows.at(row) + 1).max().unwrap_or(0);
            let total = if matches!(rows, Rows::All(_)) { end } else { end + 2 };
            rows.assert_within(4, total * 4);
            for start in 0..=rows.len() {
                let found: Vec<_> = rows
                    .runs(start..rows.len())
                    .flat_map(|(run, at)| run.clone().map(move |row| (row, at + row - run.start)))
                    .collect();
                let expected: Vec<_> = (start..rows.len()).map(|row| (row, rows.at(row))).collect();
                assert_eq!(found, expected, "{rows:?}");
            }
            let mut all: Vec<usize> = rows.others(total).flatten().collect();
            all.extend((0..rows.len()).map(|row| rows.at(row)));
            all.sort_unstable();
            assert_eq!(all, (0..total).collect::<Vec<_>>(), "{rows:?}");
        }
    }

    #[test]
    fn rows_that_are_named_twice_or_stand_beyond_are_refused() {
        let twice = Rows::Of { images: &[1, 1], each: 2 };
        let beyond = Rows::Of { images: &[0, 4], each: 2 };
        let one = Rows::Every { first: 0, apart: 0, count: 2 };
        for rows in [twice, beyond, one, Rows::All(7), Rows::All(9)] {
            let refused = std::panic::catch_unwind(|| rows.assert_within(3, 8 * 3));
            assert!(refused.is_err(), "{rows:?}");
        }
    }
}
