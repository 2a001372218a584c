//! F: how well a mask's outline follows the true one (Martin et al. 2004; Perazzi et al. 2016), within a few pixels.

/// The distance within which outlines agree, as a share of the picture's diagonal.
const TOLERANCE: f64 = 0.008;

/// A mask of (height, width) pixels, 0 outside the object.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    pub height: usize,
    pub width: usize,
    pub inside: &'a [bool],
}

/// The harmonic mean of two shares: of the found outline that the true one is near, and of the true outline that the found one is near.
/// 1 where neither mask has an outline, 0 where one of them has none.
pub fn agreement(truth: Mask<'_>, found: Mask<'_>) -> f64 {
    let reach = (TOLERANCE * (truth.height as f64).hypot(truth.width as f64)).ceil() as usize;
    let (truth, found) = (Outline::of(truth), Outline::of(found));
    let (precision, recall) = match (found.pixels.len(), truth.pixels.len()) {
        (0, 0) => (1.0, 1.0),
        (0, _) => (1.0, 0.0),
        (_, 0) => (0.0, 1.0),
        (of_found, of_truth) => (
            found.near(&truth, reach) as f64 / of_found as f64,
            truth.near(&found, reach) as f64 / of_truth as f64,
        ),
    };
    if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
}

/// The pixels of a mask's outline, and for each row how many come before each column.
struct Outline {
    height: usize,
    width: usize,
    pixels: Vec<(usize, usize)>,
    /// (height, width + 1)
    before: Vec<u32>,
}

impl Outline {
    /// A pixel is of the outline when the one to the right, below, or below to the right differs from it; in the last column the one
    /// below alone, in the last row the one to the right alone (DAVIS's evaluation).
    fn of(mask: Mask<'_>) -> Self {
        let Mask { height, width, inside } = mask;
        let at = |y: usize, x: usize| inside[y * width + x];
        let mut outline =
            Outline { height, width, pixels: Vec::new(), before: Vec::with_capacity(height * (width + 1)) };
        for y in 0..height {
            let mut count = 0;
            outline.before.push(0);
            for x in 0..width {
                let (own, right, below) = (at(y, x), x + 1 < width, y + 1 < height);
                let differs = (right && at(y, x + 1) != own)
                    || (below && at(y + 1, x) != own)
                    || (right && below && at(y + 1, x + 1) != own);
                if differs {
                    outline.pixels.push((y, x));
                    count += 1;
                }
                outline.before.push(count);
            }
        }
        outline
    }

    /// How many of its pixels have one of `other` within a disk of radius `reach`.
    fn near(&self, other: &Outline, reach: usize) -> usize {
        let half_widths: Vec<usize> =
            (0..=reach).map(|dy| ((reach * reach - dy * dy) as f64).sqrt().floor() as usize).collect();
        let touches = |&&(y, x): &&(usize, usize)| {
            (y.saturating_sub(reach)..(y + reach + 1).min(other.height)).any(|row| {
                let half = half_widths[row.abs_diff(y)];
                let line = &other.before[row * (other.width + 1)..][..other.width + 1];
                line[(x + half + 1).min(other.width)] > line[x.saturating_sub(half)]
            })
        };
        self.pixels.iter().filter(touches).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::Key;

    const SIZE: (usize, usize) = (37, 53);

    fn mask(inside: &[bool]) -> Mask<'_> {
        Mask { height: SIZE.0, width: SIZE.1, inside }
    }

    fn drawn(shape: impl Fn(usize, usize) -> bool) -> Vec<bool> {
        (0..SIZE.0 * SIZE.1).map(|at| shape(at / SIZE.1, at % SIZE.1)).collect()
    }

    /// Every pixel of one outline against every pixel of the other.
    fn obvious(truth: &[bool], found: &[bool]) -> f64 {
        let reach = (TOLERANCE * ((SIZE.0 * SIZE.0 + SIZE.1 * SIZE.1) as f64).sqrt()).ceil() as i64;
        let (truth, found) = (Outline::of(mask(truth)).pixels, Outline::of(mask(found)).pixels);
        let share = |of: &[(usize, usize)], to: &[(usize, usize)]| {
            let near = |&&(y, x): &&(usize, usize)| {
                to.iter().any(|&(v, u)| {
                    (y as i64 - v as i64).pow(2) + (x as i64 - u as i64).pow(2) <= reach * reach
                })
            };
            of.iter().filter(near).count() as f64 / of.len() as f64
        };
        let (precision, recall) = (share(&found, &truth), share(&truth, &found));
        if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
    }

    #[test]
    fn disks_agree_with_all_pairs() {
        let mut draws = Key::new(2).draws();
        for round in 0..20 {
            let mut blob = || {
                let (cy, cx, r) =
                    (draws.uniform(5.0, 30.0), draws.uniform(5.0, 45.0), draws.uniform(2.0, 12.0));
                let noise: Vec<f64> = (0..SIZE.0 * SIZE.1).map(|_| draws.uniform(-0.3, 0.3)).collect();
                drawn(|y, x| (y as f64 - cy).hypot(x as f64 - cx) < r * (1.0 + noise[y * SIZE.1 + x]))
            };
            let (truth, found) = (blob(), blob());
            assert_eq!(agreement(mask(&truth), mask(&found)), obvious(&truth, &found), "round {round}");
        }
    }

    #[test]
    fn outlines_that_are_not_there_agree_with_none() {
        let (empty, disk) =
            (drawn(|_, _| false), drawn(|y, x| (y as f64 - 15.0).hypot(x as f64 - 20.0) < 9.0));
        let all = drawn(|_, _| true);
        for (truth, found, expected) in [
            (&empty, &empty, 1.0),
            (&disk, &empty, 0.0),
            (&empty, &disk, 0.0),
            (&disk, &disk, 1.0),
            (&all, &empty, 1.0),
        ] {
            assert_eq!(agreement(mask(truth), mask(found)), expected);
        }
    }
}
