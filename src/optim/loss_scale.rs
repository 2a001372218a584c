//! Loss scaling: gradients in 16-bit IEEE floats are kept out of the small numbers that these lose (Micikevicius et al. 2018, section 3.2).
//!
//! The loss's gradient is multiplied by a power of two before it goes back through the network, and the weights' gradients are divided
//! by it again. Where one of them came out infinite the step moves no weight and the next one's scale is half as large.

/// The first scale: 2^16.
const FIRST: u32 = 16;
/// The largest: gradients in f32 stay far from infinity.
const LARGEST: u32 = 24;
/// Steps without an overflow after which the scale is doubled.
const PATIENCE: u64 = 2000;

/// The scale, and for how long it has done well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossScale {
    exponent: u32,
    steps: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        LossScale { exponent: FIRST, steps: 0 }
    }
}

impl LossScale {
    /// What gradients are multiplied by.
    pub fn factor(self) -> f32 {
        (1u32 << self.exponent) as f32
    }

    /// The scale after a step whose gradients were all finite, or were not. None where they overflow without any scale: then it is not the
    /// scale that is at fault.
    pub fn after(self, finite: bool) -> Option<LossScale> {
        match finite {
            false => Some(LossScale { exponent: self.exponent.checked_sub(1)?, steps: 0 }),
            true if self.steps + 1 >= PATIENCE => {
                Some(LossScale { exponent: (self.exponent + 1).min(LARGEST), steps: 0 })
            }
            true => Some(LossScale { steps: self.steps + 1, ..self }),
        }
    }

    /// The two numbers that a checkpoint keeps.
    pub fn saved(self) -> [u64; 2] {
        [u64::from(self.exponent), self.steps]
    }

    /// A scale from them, unless it is none that [`LossScale::saved`] gave.
    pub fn restored(saved: &[u64]) -> Option<LossScale> {
        let [exponent, steps] = saved[..] else { return None };
        let exponent = u32::try_from(exponent).ok().filter(|exponent| *exponent <= LARGEST)?;
        (steps < PATIENCE).then_some(LossScale { exponent, steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_at_an_overflow_and_doubles_after_a_while() {
        let mut scale = LossScale::default();
        assert_eq!(scale.factor(), 65536.0);
        scale = scale.after(false).unwrap();
        assert_eq!(scale.factor(), 32768.0);
        for step in 1..=PATIENCE {
            assert_eq!(scale.factor(), 32768.0, "before step {step}");
            scale = scale.after(true).unwrap();
        }
        assert_eq!(scale, LossScale::default());
        for _ in 0..PATIENCE * 20 {
            scale = scale.after(true).unwrap();
        }
        assert_eq!(scale.factor(), 16_777_216.0);
    }

    #[test]
    fn what_overflows_without_a_scale_is_not_its_fault() {
        let mut scale = LossScale::default();
        for _ in 0..FIRST {
            scale = scale.after(false).unwrap();
        }
        assert_eq!((scale.factor(), scale.after(false)), (1.0, None));
    }

    #[test]
    fn only_what_was_saved_is_restored() {
        let scale = LossScale { exponent: 9, steps: 77 };
        assert_eq!(LossScale::restored(&scale.saved()), Some(scale));
        for wrong in [&[9][..], &[9, 7, 1], &[25, 0], &[u64::MAX, 0], &[9, PATIENCE]] {
            assert_eq!(LossScale::restored(wrong), None, "{wrong:?}");
        }
    }
}
