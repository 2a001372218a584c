//! What copies are recognised by: the CLS token, and the generalised mean of the patches (Radenović et al. 2017) beside it.

use rayon::prelude::*;

/// The exponent of the generalised mean.
pub const EXPONENT: i32 = 4;

/// What the smallest patch value is raised to before its power is taken.
const FLOOR: f32 = 1e-6;

/// (pictures, 2 · width) from the tokens after the last norm, (pictures, 1 + patches, width) with CLS first.
pub fn cls_and_gem(tokens: &[f32], count: usize, width: usize) -> Vec<f32> {
    let picture = |tokens: &[f32]| {
        let (cls, patches) = tokens.split_at(width);
        let mut sums = vec![0.0f64; width];
        for patch in patches.chunks_exact(width) {
            for (sum, &x) in sums.iter_mut().zip(patch) {
                *sum += f64::from(x.max(FLOOR)).powi(EXPONENT);
            }
        }
        let patches = (count - 1).max(1) as f64;
        let pooled = sums.into_iter().map(|sum| (sum / patches).powf(1.0 / f64::from(EXPONENT)) as f32);
        cls.iter().copied().chain(pooled).collect::<Vec<f32>>()
    };
    tokens.par_chunks_exact(count * width).flat_map_iter(picture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_values_count_as_almost_nothing() {
        // two pictures of CLS and two patches, width 2
        let tokens = [9.0, 8.0, 1.0, -5.0, 3.0, 2.0, -1.0, -2.0, 0.0, 0.0, 0.0, 0.0];
        let found = cls_and_gem(&tokens, 3, 2);
        let expected = [9.0, 8.0, 41f32.powf(0.25), 8f32.powf(0.25), -1.0, -2.0, 1e-6, 1e-6];
        assert_eq!(found.len(), 8);
        assert!(
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6 * b.abs().max(1e-3)),
            "{found:?}"
        );
    }
}
