//! Safe loops compiled for the widest vectors that the processor has.

/// Runs a loop compiled for AVX-512, AVX2 or the portable baseline, whichever the processor has. What the closure
/// calls must be `#[inline(always)]`, and so must the closure itself, or it stays at the baseline (10 to 20 times slower).
///
/// Same bits on every level: no operation is contracted or reordered, only more lanes go at once.
#[inline]
pub fn wide<R>(run: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(run)
}
