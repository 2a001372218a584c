//! InfoNCE against a queue of negatives (van den Oord et al. 2018; He et al. 2020).

use super::{BLOCK, Partners};
use crate::kernels::Products;
use crate::kernels::cpu::lanes::{dot, exp_negative, larger, maximum, mul_add, sum};
use crate::kernels::cpu::linear;
use crate::kernels::cpu::split::each_part3;

/// Student rows whose products with the queue are held at once.
const ROWS: usize = 256;

/// The sum over pairs (teacher view i, student view v ≠ i) and over rows of -log(e^(s·t) / (e^(s·t) + Σ e^(s·n))), all products over
/// `temperature` and n the rows of the queue, times `weight`; and its gradient. All rows are of unit length: student
/// (views, batch, k), teacher (globals, batch, k), queue (negatives, k); dstudent is overwritten.
pub fn info_nce(
    globals: usize,
    views: usize,
    batch: usize,
    k: usize,
    negatives: usize,
    student: &[f32],
    teacher: &[f32],
    queue: &[f32],
    temperature: f32,
    weight: f32,
    dstudent: &mut [f32],
) -> f64 {
    let rows = views * batch;
    assert_eq!([student.len(), dstudent.len()], [rows * k; 2], "student rows are (views, batch, k)");
    assert_eq!(
        [teacher.len(), queue.len()],
        [globals * batch * k, negatives * k],
        "teacher rows are (globals, batch, k), the queue (negatives, k)"
    );
    assert!(negatives > 0 && k > 0, "a queue with something in it");
    let inverse = 1.0 / temperature;
    let mut losses = vec![0.0f64; rows];
    let mut scores = vec![0.0; rows.min(ROWS) * negatives];
    let chunks = dstudent.chunks_mut(ROWS * k).zip(losses.chunks_mut(ROWS)).zip(student.chunks(ROWS * k));
    for (chunk, ((dstudent, losses), student)) in chunks.enumerate() {
        let count = losses.len();
        let scores = &mut scores[..count * negatives];
        let (x, y) = (student.into(), (&mut *scores).into());
        linear::forward(Products::F32, count, k, negatives, x, queue, None, y);
        let parts = ((negatives, &mut *scores), (k, &mut *dstudent), (1, losses));
        each_part3(parts.0, parts.1, parts.2, |row, scores, dstudent, loss| {
            let partners = Partners::of(teacher, globals, batch, k, chunk * ROWS + row);
            let student = &student[row * k..][..k];
            loss[0] = contrast_row(student, partners, inverse, weight * inverse, scores, dstudent);
        });
        let dy = (&*scores).into();
        linear::backward_input_add(Products::F32, count, k, negatives, dy, queue, dstudent);
    }
    losses.iter().sum::<f64>() * f64::from(weight)
}

/// Lays `rows` of k on the queue's places from `next` on; after the last comes the first again.
pub fn enqueue(next: usize, length: usize, k: usize, rows: &[f32], queue: &mut [f32]) {
    assert_eq!(queue.len(), length * k, "the queue is (length, k)");
    for (i, row) in rows.chunks_exact(k).enumerate() {
        queue[(next + i) % length * k..][..k].copy_from_slice(row);
    }
}

vectorised! {
    /// The loss of one student row. `scores` are its products with the negatives, and become the gradient in these, times `scale`;
    /// dstudent becomes the gradient by way of the positives.
    fn contrast_row<I>(
        student: &[f32], partners: Partners<'_>, inverse: f32, scale: f32, scores: &mut [f32], dstudent: &mut [f32],
    ) -> f64 {
        let mut top = maximum::<I>(scores);
        for positive in partners.rows() {
            top = larger(top, dot::<I>(student, positive));
        }
        let mut negative = 0.0f64;
        for block in scores.chunks_mut(BLOCK) {
            for s in block.iter_mut() {
                *s = exp_negative::<I>((*s - top) * inverse);
            }
            negative += f64::from(sum::<I>(block));
        }
        dstudent.fill(0.0);
        let (mut loss, mut shares) = (0.0f64, 0.0f64);
        for positive in partners.rows() {
            let exponent = (dot::<I>(student, positive) - top) * inverse;
            let own = f64::from(exp_negative::<I>(exponent));
            let total = negative + own;
            loss += total.ln() - f64::from(exponent);
            shares += 1.0 / total;
            // 1 - own / total without the difference's rounding
            let pull = -scale * (negative / total) as f32;
            for (d, t) in dstudent.iter_mut().zip(positive) {
                *d = mul_add::<I>(pull, *t, *d);
            }
        }
        let shares = (f64::from(scale) * shares) as f32;
        for s in scores.iter_mut() {
            *s *= shares;
        }
        loss
    }
}
