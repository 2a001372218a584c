//! Mixed pictures: mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019), as DeiT uses them: one draw for a whole batch, each picture mixed with
//! the one that is as far from the batch's end as it is from its beginning.

use super::Recipe;
use crate::eval::classifier::Target;
use crate::keyed::{Draws, Key};

/// Mixes a batch's pictures (n, 3, side, side) in place, and says what each should come to. Draws are keyed by `key` alone.
pub fn mixed(
    recipe: &Recipe,
    classes: usize,
    side: usize,
    key: Key,
    pixels: &mut [f32],
    labels: &[u32],
) -> Vec<Target> {
    let mut draws = key.named("mix").draws();
    let own = match (recipe.mixup > 0.0, recipe.cutmix > 0.0) {
        (false, false) => 1.0,
        (true, false) => blend(pixels, labels.len(), beta(recipe.mixup, &mut draws)),
        (false, true) => cut(pixels, labels.len(), side, recipe.cutmix, &mut draws),
        (true, true) if draws.chance(0.5) => cut(pixels, labels.len(), side, recipe.cutmix, &mut draws),
        (true, true) => blend(pixels, labels.len(), beta(recipe.mixup, &mut draws)),
    };
    let (sharp, rest) = (1.0 - recipe.smoothing, recipe.smoothing / classes.max(1) as f64);
    let target = |(label, other): (&u32, &u32)| Target {
        shares: [(*label, (sharp * own) as f32), (*other, (sharp * (1.0 - own)) as f32)],
        rest: rest as f32,
    };
    labels.iter().zip(labels.iter().rev()).map(target).collect()
}

/// Each picture with its partner's shares: `own` of itself. Returns `own`.
fn blend(pixels: &mut [f32], count: usize, own: f64) -> f64 {
    let (own32, each) = (own as f32, pixels.len() / count.max(1));
    swap_pairs(pixels, each, |a, b| {
        for (x, y) in a.iter_mut().zip(b) {
            (*x, *y) = (own32 * *x + (1.0 - own32) * *y, own32 * *y + (1.0 - own32) * *x);
        }
    });
    own
}

/// A rectangle of each picture from its partner, as large as the draw says and wherever it falls; what lies beyond the border is cut off.
/// Returns the share of the picture that stays its own.
fn cut(pixels: &mut [f32], count: usize, side: usize, alpha: f64, draws: &mut Draws) -> f64 {
    let half = (side as f64 * (1.0 - beta(alpha, draws)).sqrt()) as usize / 2;
    let (y, x) = (draws.below(side as u64) as usize, draws.below(side as u64) as usize);
    let (rows, columns) =
        (y.saturating_sub(half)..(y + half).min(side), x.saturating_sub(half)..(x + half).min(side));
    swap_pairs(pixels, pixels.len() / count.max(1), |a, b| {
        for (a, b) in a.chunks_exact_mut(side * side).zip(b.chunks_exact_mut(side * side)) {
            for row in rows.clone() {
                let line = row * side + columns.start..row * side + columns.end;
                a[line.clone()].swap_with_slice(&mut b[line]);
            }
        }
    });
    1.0 - (rows.len() * columns.len()) as f64 / (side * side) as f64
}

/// Calls `mix` with each two pictures that are partners; a middle one is its own partner and stays.
fn swap_pairs(pixels: &mut [f32], each: usize, mix: impl Fn(&mut [f32], &mut [f32])) {
    let count = pixels.len() / each.max(1);
    let (front, back) = pixels.split_at_mut(count.div_ceil(2) * each);
    for (at, a) in front.chunks_exact_mut(each.max(1)).take(count / 2).enumerate() {
        let partner = count / 2 - 1 - at;
        mix(a, &mut back[partner * each..][..each]);
    }
}

/// A draw from the beta distribution of two equal parameters above 0: the share of one of two gamma draws in their sum.
fn beta(alpha: f64, draws: &mut Draws) -> f64 {
    let (x, y) = (ln_gamma_draw(alpha, draws), ln_gamma_draw(alpha, draws));
    1.0 / (1.0 + (y - x).exp())
}

/// The logarithm of a draw from the gamma distribution (Marsaglia and Tsang 2000), which for small `alpha` is itself too small a number. Few
/// draws are tried again, whatever `alpha` is.
fn ln_gamma_draw(alpha: f64, draws: &mut Draws) -> f64 {
    // below 1 the draw of one more, times a power of a uniform one
    let (shape, boost) = match alpha < 1.0 {
        true => (alpha + 1.0, (1.0 - draws.unit()).ln() / alpha),
        false => (alpha, 0.0),
    };
    let scale = shape - 1.0 / 3.0;
    loop {
        let normal = draws.normal();
        let cube = (1.0 + normal / (9.0 * scale).sqrt()).powi(3);
        let bound = 0.5 * normal * normal + scale - scale * cube + scale * cube.ln();
        if cube > 0.0 && (1.0 - draws.unit()).ln() < bound {
            return (scale * cube).ln() + boost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 6;

    fn batch(count: usize) -> (Vec<f32>, Vec<u32>) {
        let pixels = (0..count).flat_map(|i| vec![i as f32; 3 * SIDE * SIDE]).collect();
        (pixels, (0..count as u32).collect())
    }

    /// The mean of each picture says how much it holds of itself and of its partner; so must its target.
    fn check(mixup: f64, cutmix: f64, count: usize) {
        let recipe = Recipe { mixup, cutmix, smoothing: 0.0, ..Recipe::default() };
        for round in 0..20 {
            let (mut pixels, labels) = batch(count);
            let targets = mixed(&recipe, count, SIDE, Key::new(round), &mut pixels, &labels);
            for (i, (picture, target)) in pixels.chunks(3 * SIDE * SIDE).zip(&targets).enumerate() {
                let mean = picture.iter().sum::<f32>() / picture.len() as f32;
                let [(own, share), (other, rest)] = target.shares;
                assert_eq!((own as usize, other as usize), (i, count - 1 - i));
                assert!((share + rest - 1.0).abs() < 1e-6);
                assert!(
                    (mean - (share * own as f32 + rest * other as f32)).abs() < 1e-4,
                    "{mixup} {cutmix}: {i}"
                );
            }
        }
    }

    #[test]
    fn targets_are_what_the_pictures_hold() {
        for (mixup, cutmix) in [(0.0, 0.0), (0.8, 0.0), (0.0, 1.0), (0.8, 1.0)] {
            for count in [1, 2, 5, 8] {
                check(mixup, cutmix, count);
            }
        }
    }

    #[test]
    fn smoothing_spreads_and_draws_are_betas() {
        let recipe = Recipe { mixup: 0.0, cutmix: 0.0, smoothing: 0.1, ..Recipe::default() };
        let (mut pixels, labels) = batch(2);
        let target = mixed(&recipe, 4, SIDE, Key::new(1), &mut pixels, &labels)[0];
        assert!((target.shares[0].1 - 0.9).abs() < 1e-6 && (target.rest - 0.025).abs() < 1e-6);
        let mut draws = Key::new(2).draws();
        for alpha in [0.01, 0.2, 0.8, 1.0, 3.0, 1000.0] {
            let all: Vec<f64> = (0..20_000).map(|_| beta(alpha, &mut draws)).collect();
            let mean = all.iter().sum::<f64>() / 2e4;
            let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2e4;
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!(
                (mean - 0.5).abs() < 4.0 * (expected / 2e4).sqrt()
                    && (variance / expected - 1.0).abs() < 0.05,
                "{alpha}: {mean} {variance}"
            );
        }
        // parameters out of all proportion give shares all the same
        assert!([1e-9, 1e9].iter().all(|&alpha| (0.0..=1.0).contains(&beta(alpha, &mut draws))));
    }
}
