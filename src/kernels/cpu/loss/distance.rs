//! Mean squared error between rows of unit length.

use super::{BLOCK, Partners};
use crate::kernels::cpu::lanes::{dot, mul_add};
use crate::kernels::cpu::split::each_part2;

/// The sum over pairs (teacher view i, student view v ≠ i) and over rows of ‖s - t‖², times `weight`, and its gradient.
/// student (views, batch, k), teacher (globals, batch, k); dstudent is overwritten.
pub fn squared_distances(
    globals: usize,
    views: usize,
    batch: usize,
    k: usize,
    student: &[f32],
    teacher: &[f32],
    weight: f32,
    dstudent: &mut [f32],
) -> f64 {
    assert_eq!([student.len(), dstudent.len()], [views * batch * k; 2], "student rows are (views, batch, k)");
    assert_eq!(teacher.len(), globals * batch * k, "teacher rows are (globals, batch, k)");
    let mut losses = vec![0.0f64; views * batch];
    each_part2((k, dstudent), (1, &mut losses), |row, dstudent, loss| {
        let partners = Partners::of(teacher, globals, batch, k, row);
        loss[0] = distance_row(&student[row * k..][..k], partners, 2.0 * weight, dstudent);
    });
    losses.iter().sum::<f64>() * f64::from(weight)
}

vectorised! {
    fn distance_row<I>(student: &[f32], partners: Partners<'_>, scale: f32, dstudent: &mut [f32]) -> f64 {
        dstudent.fill(0.0);
        let mut total = 0.0f64;
        for teacher in partners.rows() {
            let blocks = dstudent.chunks_mut(BLOCK).zip(student.chunks(BLOCK)).zip(teacher.chunks(BLOCK));
            for ((d, s), t) in blocks {
                let mut apart = [0.0; BLOCK];
                for (((apart, d), s), t) in apart.iter_mut().zip(d.iter_mut()).zip(s).zip(t) {
                    *apart = s - t;
                    *d = mul_add::<I>(scale, *apart, *d);
                }
                let apart = &apart[..s.len()];
                total += f64::from(dot::<I>(apart, apart));
            }
        }
        total
    }
}
