//! Keyed randomness: every draw is a function of a key, never of the order in which draws are made.
//!
//! A [`Key`] is built from words, `Key::new(seed).with(epoch).with(sample).with(crop)`, and opened as a [`Draws`]
//! stream for one operation. The number of workers, a resume or another schedule therefore change nothing.

/// The words that a random draw depends on, folded into 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

/// The increment of SplitMix64 (Steele, Lea, Flood 2014): the golden ratio in 64 bits.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finaliser of SplitMix64: a bijection that spreads every input bit over the output.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Key {
    /// The key of a run's seed.
    pub fn new(seed: u64) -> Self {
        Key(mix(seed.wrapping_add(GOLDEN)))
    }

    /// This key narrowed by one more word; the order of words matters.
    pub fn with(self, word: u64) -> Self {
        Key(mix(self.0.rotate_left(23) ^ mix(word.wrapping_add(GOLDEN))))
    }

    /// This key narrowed by a name: an operation, a parameter.
    pub fn named(self, name: &str) -> Self {
        // FNV-1a over the bytes, as in the reference weights' formula
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        self.with(hash)
    }

    /// Opens the stream of draws under this key.
    pub fn draws(self) -> Draws {
        Draws { state: self.0 }
    }
}

/// A stream of random numbers under one key (SplitMix64).
#[derive(Clone, Debug)]
pub struct Draws {
    state: u64,
}

impl Draws {
    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Uniform in [0, 1) with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform integer in 0..bound, without bias (Lemire 2019). `bound` must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0, "an empty range has no integer to draw");
        loop {
            let wide = u128::from(self.bits()) * u128::from(bound);
            let low = wide as u64;
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (wide >> 64) as u64;
            }
        }
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A standard normal draw (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Shuffles a slice (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_the_key_alone() {
        let key = Key::new(7).with(3).named("blur");
        assert_eq!(key.draws().bits(), key.draws().bits());
        assert_ne!(key.draws().bits(), Key::new(7).with(4).named("blur").draws().bits());
        assert_ne!(Key::new(7).with(1).with(2), Key::new(7).with(2).with(1));
    }

    #[test]
    fn below_is_even_and_normal_has_unit_deviation() {
        let mut draws = Key::new(1).draws();
        let mut counts = [0; 7];
        (0..70_000).for_each(|_| counts[draws.below(7) as usize] += 1);
        assert!(counts.iter().all(|&c| (9_500..10_500).contains(&c)), "{counts:?}");
        let n = 100_000;
        let square: f64 = (0..n).map(|_| draws.normal().powi(2)).sum::<f64>() / n as f64;
        assert!((square - 1.0).abs() < 0.02, "{square}");
    }
}
