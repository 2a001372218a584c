//! J: what a mask and the true one share (Perazzi et al. 2016).

/// Pixels of both over pixels of either; 1 where neither has any. `inside` says of each pixel whether it belongs to the true object and to
/// the found one; pixels that it leaves out do not count.
pub fn overlap(inside: impl Iterator<Item = (bool, bool)>) -> f64 {
    let (mut both, mut either) = (0u64, 0u64);
    for (truth, found) in inside {
        both += u64::from(truth & found);
        either += u64::from(truth | found);
    }
    if either == 0 { 1.0 } else { both as f64 / either as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_pixels() {
        let of = |truth: [u8; 4], found: [u8; 4]| {
            overlap(truth.map(|x| x > 0).into_iter().zip(found.map(|x| x > 0)))
        };
        assert_eq!(of([1, 1, 0, 0], [0, 1, 1, 0]), 1.0 / 3.0);
        assert_eq!(of([0; 4], [0; 4]), 1.0);
        assert_eq!(of([1; 4], [0; 4]), 0.0);
        assert_eq!(of([1, 0, 1, 0], [1, 0, 1, 0]), 1.0);
    }
}
