//! One linear classifier in training by SGD.

use crate::eval::classifier::{Classifier, Rows, Target, cross_entropy};
use crate::kernels::Products;
use crate::kernels::cpu::{linear, optimizer};
use crate::keyed::Key;

/// Momentum of the protocol.
const MOMENTUM: f64 = 0.9;
/// Deviation of the first weights; biases begin at 0.
const DEVIATION: f64 = 0.01;

/// A classifier with what SGD keeps of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub classifier: Classifier,
    /// Velocity of the weights, and of the biases.
    pub velocity: [Vec<f32>; 2],
}

impl Head {
    /// A head at its beginning.
    pub fn new(dim: usize, classes: usize, key: Key) -> Self {
        let mut draws = key.draws();
        let weights = (0..classes * dim).map(|_| (DEVIATION * draws.normal()) as f32).collect();
        let classifier = Classifier { weights, ..Classifier::zeros(dim, classes) };
        Head { velocity: [vec![0.0; classes * dim], vec![0.0; classes]], classifier }
    }

    /// One update by a batch, of which there must be some. Returns its mean cross-entropy before, in nats.
    pub fn step(&mut self, batch: &Rows, lr: f64) -> f64 {
        let Classifier { dim, classes, .. } = self.classifier;
        let rows = batch.labels.len();
        let targets: Vec<Target> = batch.labels.iter().map(|&label| Target::class(label)).collect();
        let mut scores = vec![0.0; rows * classes];
        self.classifier.scores(&batch.features, &mut scores);
        let loss = cross_entropy(classes, &mut scores, &targets, 1.0 / rows as f32);
        let (mut weights, mut bias) = (vec![0.0; classes * dim], vec![0.0; classes]);
        let (slope, features) = (scores.as_slice().into(), batch.features.as_slice().into());
        linear::backward_weight(Products::F32, rows, dim, classes, slope, features, &mut weights);
        linear::backward_bias(rows, classes, slope, &mut bias);
        let [of_weights, of_bias] = &mut self.velocity;
        let update = |p: &mut [f32], g: &[f32], velocity: &mut [f32]| {
            optimizer::sgd(p, g, velocity, lr, 0.0, MOMENTUM, 1.0, None, 0.0);
        };
        update(&mut self.classifier.weights, &weights, of_weights);
        update(&mut self.classifier.bias, &bias, of_bias);
        loss / rows as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes of one feature each, seen in f64.
    #[test]
    fn steps_are_sgds_with_momentum() {
        let batch = Rows { dim: 2, features: vec![1.0, 0.5, -1.0, 2.0, 0.25, -0.5], labels: vec![0, 1, 1] };
        let mut head = Head::new(2, 2, Key::new(4));
        let (mut w, mut b) =
            (head.classifier.weights.iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), [0.0; 2]);
        let (mut vw, mut vb) = ([0.0; 4], [0.0; 2]);
        for step in 0..20 {
            let (mut gw, mut gb, mut expected) = ([0.0; 4], [0.0; 2], 0.0);
            for (x, &label) in batch.features.chunks(2).zip(&batch.labels) {
                let s = [0, 1].map(|c| w[2 * c] * f64::from(x[0]) + w[2 * c + 1] * f64::from(x[1]) + b[c]);
                let sum = s[0].exp() + s[1].exp();
                expected += (sum.ln() - s[label as usize]) / 3.0;
                for c in 0..2 {
                    let slope = (s[c].exp() / sum - f64::from(u8::from(c == label as usize))) / 3.0;
                    gb[c] += slope;
                    (0..2).for_each(|i| gw[2 * c + i] += slope * f64::from(x[i]));
                }
            }
            for (p, (g, v)) in
                w.iter_mut().zip(gw.iter().zip(&mut vw)).chain(b.iter_mut().zip(gb.iter().zip(&mut vb)))
            {
                *v = 0.9 * *v + g;
                *p -= 0.3 * *v;
            }
            assert!((head.step(&batch, 0.3) - expected).abs() < 1e-5, "step {step}");
        }
        assert!(head.classifier.weights.iter().zip(&w).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5));
        assert!(head.classifier.bias.iter().zip(&b).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5));
    }
}
