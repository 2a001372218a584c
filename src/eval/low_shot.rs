//! A part of the labelled pictures, as evaluation with few labels takes it: the same share of each class.

use crate::data::source::Images;
use crate::keyed::Key;

/// Of a source's labelled pictures a `share` of each class, at least one, drawn by `seed`; in the source's order. All where the share
/// is 1.
pub fn choose(images: &dyn Images, share: f64, seed: u64) -> Vec<usize> {
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); images.classes().len()];
    for index in 0..images.len() {
        if let Some(class) = images.label(index).and_then(|label| by_class.get_mut(label as usize)) {
            class.push(index);
        }
    }
    let mut chosen = Vec::new();
    for (class, members) in by_class.into_iter().enumerate() {
        let wanted = ((members.len() as f64 * share).round() as usize).max(1).min(members.len());
        let key = Key::new(seed).named("low shot").with(class as u64);
        let mut drawn: Vec<_> =
            members.into_iter().map(|i| (key.with(i as u64).draws().uniform(0.0, 1.0), i)).collect();
        drawn.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        chosen.extend(drawn.into_iter().take(wanted).map(|(_, index)| index));
    }
    chosen.sort_unstable();
    chosen
}

/// A share as it is written: `1%`, `0.01`.
///
/// # Errors
/// What is expected instead.
pub fn parse(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number.trim(), 0.01),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().map(|share| share * unit);
    match share {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a share above 0: 1%, 10%, 0.01".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::{Synthetic, SyntheticParams};

    #[test]
    fn every_class_gives_its_share() {
        let params = SyntheticParams { count: 200, classes: 4, size: 4, ..SyntheticParams::default() };
        let images = Synthetic::open(&params).unwrap();
        let check = |share: f64, each: usize| {
            let chosen = choose(&images, share, 3);
            let count = |class| chosen.iter().filter(|&&i| images.label(i) == Some(class)).count();
            assert_eq!((0..4).map(count).collect::<Vec<_>>(), [each; 4], "{share}");
            assert!(chosen.is_sorted());
            assert_eq!(chosen, choose(&images, share, 3));
        };
        check(1.0, 50);
        check(0.1, 5);
        check(0.001, 1);
        assert_ne!(choose(&images, 0.1, 3), choose(&images, 0.1, 4));
    }

    #[test]
    fn shares_are_percent_or_fractions() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(parse(text).ok(), expected, "{text}");
        check("1%", Some(0.01));
        check("10 %", Some(0.1));
        check("0.25", Some(0.25));
        check("1", Some(1.0));
        check("0", None);
        check("101%", None);
        check("nan", None);
        check("few", None);
    }
}
