//! Copies of parts: an image's first tokens, rows that are named and the others, a stretch of rows. Bound by memory; no arithmetic to speak of.

use super::convert::{each_chunk, write};
use super::linear::backward_bias;
use super::optimizer::axpy;
use super::split::rows_per_task;
use crate::kernels::{NumbersMut, Rows};

/// src (batch, tokens, dim) to dst (batch, keep, dim): the first `keep` tokens of each image.
pub fn first(batch: usize, tokens: usize, keep: usize, dim: usize, src: &[f32], dst: &mut [f32]) {
    for image in 0..batch {
        let (from, to) = (image * tokens * dim, image * keep * dim);
        dst[to..to + keep * dim].copy_from_slice(&src[from..from + keep * dim]);
    }
}

/// src (batch, tokens, dim) to dst (batch, tokens - count, dim): each image without `count` tokens from `from` on.
pub fn without(
    batch: usize,
    tokens: usize,
    from: usize,
    count: usize,
    dim: usize,
    src: &[f32],
    dst: &mut [f32],
) {
    let kept = tokens - count;
    assert_eq!(
        [src.len(), dst.len()],
        [tokens, kept].map(|n| batch * n * dim),
        "tokens, and those that are kept"
    );
    for (src, dst) in src.chunks_exact((tokens * dim).max(1)).zip(dst.chunks_exact_mut((kept * dim).max(1))) {
        let (before, after) = dst.split_at_mut(from * dim);
        before.copy_from_slice(&src[..from * dim]);
        after.copy_from_slice(&src[(from + count) * dim..]);
    }
}

/// dst (batch, tokens, dim) += src (batch, keep, dim) at the first `keep` tokens of each image.
pub fn add_first(batch: usize, tokens: usize, keep: usize, dim: usize, src: &[f32], dst: &mut [f32]) {
    if keep == tokens {
        return axpy(dst, 1.0, src);
    }
    for image in 0..batch {
        let (to, from) = (image * tokens * dim, image * keep * dim);
        axpy(&mut dst[to..to + keep * dim], 1.0, &src[from..from + keep * dim]);
    }
}

/// dst = scale · those rows of src that are named, db += the sums of dst's columns.
pub fn gather(rows: Rows<'_>, dim: usize, scale: f32, src: &[f32], mut dst: NumbersMut<'_>, db: &mut [f32]) {
    scaled_rows(rows, dim, scale, src, dst.lend());
    backward_bias(rows.len(), dim, dst.as_numbers(), db);
}

fn scaled_rows(rows: Rows<'_>, dim: usize, scale: f32, src: &[f32], dst: NumbersMut<'_>) {
    rows.assert_within(dim, src.len());
    assert_eq!(dst.len(), rows.len() * dim, "room for the rows that are gathered");
    let part = rows_per_task(dim);
    each_chunk(part * dim, dst, |i, dst| {
        let first = i * part;
        let span = first..first + dst.len() / dim;
        write(dst, |mut dst| {
            for (run, at) in rows.runs(span) {
                let (to, rest) = dst.split_at_mut(run.len() * dim);
                scaled(scale, &src[at * dim..][..to.len()], to);
                dst = rest;
            }
        });
    });
}

/// dst = src in all rows but those that are named.
pub fn copy_others(rows: Rows<'_>, dim: usize, src: &[f32], dst: &mut [f32]) {
    rows.assert_within(dim, src.len());
    assert_eq!(src.len(), dst.len(), "two matrices of the same rows");
    for other in rows.others(src.len() / dim) {
        let span = other.start * dim..other.end * dim;
        dst[span.clone()].copy_from_slice(&src[span]);
    }
}

vectorised! {
    fn scaled<I>(scale: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = scale * x;
        }
    }
}

/// Writes `src` into `dst` from `offset` on.
pub fn copy_to(offset: usize, src: &[f32], dst: &mut [f32]) {
    dst[offset..offset + src.len()].copy_from_slice(src);
}

/// dst += the numbers of `src` from `offset` on.
pub fn add_from(offset: usize, src: &[f32], dst: &mut [f32]) {
    let len = dst.len();
    axpy(dst, 1.0, &src[offset..offset + len]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::probe::{poison, values};
    use half::bf16;

    #[test]
    fn parts_go_out_and_come_back() {
        let tokens: Vec<f32> = (0..12).map(|i| i as f32).collect(); // (2, 3, 2)
        let mut two = [0.0; 8];
        first(2, 3, 2, 2, &tokens, &mut two);
        assert_eq!(two, [0., 1., 2., 3., 6., 7., 8., 9.]);
        let mut back = vec![1.0; 12];
        add_first(2, 3, 2, 2, &two, &mut back);
        assert_eq!(back, [1., 2., 3., 4., 1., 1., 7., 8., 9., 10., 1., 1.]);
        let mut row = [1.0; 2];
        add_from(4, &tokens, &mut row);
        copy_to(6, &row, &mut back);
        assert_eq!((row, &back[5..9]), ([5., 6.], &[1., 5., 6., 9.][..]));
    }

    #[test]
    fn tokens_are_left_out_of_every_image() {
        let tokens: Vec<f32> = (0..16).map(|i| i as f32).collect(); // (2, 4, 2)
        let mut kept = poison(8);
        without(2, 4, 1, 2, 2, &tokens, &mut kept);
        assert_eq!(kept, [0., 1., 6., 7., 8., 9., 14., 15.]);
        let mut all = poison(16);
        without(2, 4, 1, 0, 2, &tokens, &mut all);
        assert_eq!(all, tokens);
    }

    #[test]
    fn named_rows_are_gathered_and_the_others_passed_on() {
        let tokens: Vec<f32> = (0..12).map(|i| i as f32).collect(); // (3, 2, 2)
        let rows = Rows::Of { images: &[0, 2], each: 2 };
        let (mut kept, mut half) = (poison(8), vec![bf16::NAN; 8]);
        let (mut sums, mut of_half) = ([1.0, 0.0], [0.0; 2]);
        gather(rows, 2, 2.0, &tokens, NumbersMut::F32(&mut kept), &mut sums);
        gather(rows, 2, 2.0, &tokens, NumbersMut::Bf16(&mut half), &mut of_half);
        assert_eq!((sums, of_half), ([41., 48.], [40., 48.]));
        assert_eq!(kept, [0., 2., 4., 6., 16., 18., 20., 22.]);
        assert_eq!(half.iter().map(|x| x.to_f32()).collect::<Vec<_>>(), kept);
        let mut passed = vec![1.0; 12];
        copy_others(rows, 2, &tokens, &mut passed);
        assert_eq!(passed, [1., 1., 1., 1., 4., 5., 6., 7., 1., 1., 1., 1.]);
        copy_others(Rows::All(6), 2, &tokens, &mut passed);
        assert_eq!(passed[..4], [1., 1., 1., 1.]);
        copy_others(Rows::Of { images: &[], each: 3 }, 2, &tokens, &mut passed);
        assert_eq!(passed, tokens);
    }

    #[test]
    fn many_rows_are_gathered_as_few_are() {
        let (dim, each, images) = (37, 197, [1, 2, 5, 9, 10]);
        let src = values("src", 11 * each * dim);
        let rows = Rows::Of { images: &images, each };
        let mut dst = poison(rows.len() * dim);
        gather(rows, dim, 0.5, &src, NumbersMut::F32(&mut dst), &mut vec![0.0; dim]);
        for (row, found) in dst.chunks(dim).enumerate() {
            let expected: Vec<f32> = src[rows.at(row) * dim..][..dim].iter().map(|x| 0.5 * x).collect();
            assert_eq!(found, expected, "row {row}");
        }
    }
}
