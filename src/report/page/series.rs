//! Curves, thinned for drawing.

/// A series as a curve of at most so many points: means over stretches of steps where there are more points than can be drawn, the last point always itself.
pub fn curve(series: &[(u64, f64)], most: usize) -> Vec<(f64, f64)> {
    let mut curve: Vec<(f64, f64)> = series
        .chunks(series.len().div_ceil(most.max(1)).max(1))
        .map(|part| {
            let count = part.len() as f64;
            let sum = part.iter().fold((0.0, 0.0), |(x, y), (step, value)| (x + *step as f64, y + value));
            (sum.0 / count, sum.1 / count)
        })
        .collect();
    if let (Some(last), Some((step, value))) = (curve.last_mut(), series.last()) {
        *last = (*step as f64, *value);
    }
    curve
}

/// What holds all values, with a margin.
pub fn range<'s>(series: impl Iterator<Item = &'s [(u64, f64)]>) -> Option<(f64, f64)> {
    let values = series.flatten().map(|(_, value)| *value).filter(|value| value.is_finite());
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    // what stays the same lies in the middle, on a scale whose figures can be told apart
    let flat = high - low <= 1e-6 * high.abs();
    let margin = if flat { (0.1 * high.abs()).max(1e-6) } else { (high - low) * 0.05 };
    (low <= high).then_some((low - margin, high + margin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_series_is_thinned_and_keeps_its_end() {
        let short = [(0, 1.0), (3, 2.0)];
        assert_eq!(curve(&short, 150), [(0.0, 1.0), (3.0, 2.0)]);
        assert!(curve(&[], 150).is_empty());
        let long: Vec<(u64, f64)> = (0..1000).map(|step| (step, step as f64)).collect();
        let thin = curve(&long, 150);
        assert!(thin.len() <= 150 && thin.len() > 150 / 2, "{}", thin.len());
        assert_eq!((thin[0], thin.last()), ((3.0, 3.0), Some(&(999.0, 999.0))));
    }

    #[test]
    fn a_range_holds_what_is_finite() {
        let (a, b) = ([(0, 1.0), (1, f64::NAN)], [(0, 3.0)]);
        let (low, high) = range([&a[..], &b[..]].into_iter()).unwrap();
        assert!((low - 0.9).abs() < 1e-9 && (high - 3.1).abs() < 1e-9, "{low} {high}");
        assert_eq!(range([&[(0, f64::NAN)][..]].into_iter()), None);
        let (low, high) = range([&[(0, 5.0)][..]].into_iter()).unwrap();
        assert!(low < 5.0 && high > 5.0);
    }
}
