//! A figure over several seeds.

/// Mean and sample deviation; no deviation of a single number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub mean: f64,
    pub deviation: Option<f64>,
}

impl Spread {
    /// Of numbers; none of no numbers.
    pub fn of(numbers: &[f64]) -> Option<Spread> {
        let count = numbers.len() as f64;
        (count > 0.0).then_some(())?;
        let mean = numbers.iter().sum::<f64>() / count;
        let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
        Some(Spread { mean, deviation: (count > 1.0).then(|| (squares / (count - 1.0)).sqrt()) })
    }

    /// `54.2 ± 0.3` with so many decimal places.
    pub fn word(self, places: usize) -> String {
        match self.deviation {
            Some(deviation) => format!("{:.places$} ± {deviation:.places$}", self.mean),
            None => format!("{:.places$}", self.mean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_that_of_a_sample() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0]).unwrap().word(1), "3.0");
        assert_eq!(Spread::of(&[1.0, 3.0]).unwrap(), Spread { mean: 2.0, deviation: Some(2f64.sqrt()) });
    }
}
