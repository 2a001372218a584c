//! Copies of parts: an image's first tokens, a stretch of rows. Bound by memory; no arithmetic to speak of.

use super::split::each_part;

/// src (batch, tokens, dim) to dst (batch, keep, dim): the first `keep` tokens of each image.
pub fn first(batch: usize, tokens: usize, keep: usize, dim: usize, src: &[f32], dst: &mut [f32]) {
    for image in 0..batch {
        let (from, to) = (image * tokens * dim, image * keep * dim);
        dst[to..to + keep * dim].copy_from_slice(&src[from..from + keep * dim]);
    }
}

/// dst (batch, tokens, dim) += src (batch, keep, dim) at the first `keep` tokens of each image.
pub fn add_first(batch: usize, tokens: usize, keep: usize, dim: usize, src: &[f32], dst: &mut [f32]) {
    if keep == tokens {
        return super::optimizer::axpy(dst, 1.0, src);
    }
    for image in 0..batch {
        let (to, from) = (image * tokens * dim, image * keep * dim);
        super::optimizer::axpy(&mut dst[to..to + keep * dim], 1.0, &src[from..from + keep * dim]);
    }
}

/// dst = scale · the named images of src, each of `length` numbers.
pub fn gather_images(length: usize, images: &[usize], scale: f32, src: &[f32], dst: &mut [f32]) {
    assert_eq!(dst.len(), images.len() * length, "room for the images that are gathered");
    each_part(length.max(1), dst, |i, dst| {
        let src = &src[images[i] * length..][..length];
        dst.iter_mut().zip(src).for_each(|(d, s)| *d = scale * s);
    });
}

/// dst += scale · src, which holds an image for each that is named.
pub fn scatter_images(length: usize, images: &[usize], scale: f32, src: &[f32], dst: &mut [f32]) {
    assert_eq!(src.len(), images.len() * length, "an image for each place that is named");
    for (&image, src) in images.iter().zip(src.chunks(length.max(1))) {
        super::optimizer::axpy(&mut dst[image * length..][..length], scale, src);
    }
}

/// Writes `src` into `dst` from `offset` on.
pub fn copy_to(offset: usize, src: &[f32], dst: &mut [f32]) {
    dst[offset..offset + src.len()].copy_from_slice(src);
}

/// dst += the numbers of `src` from `offset` on.
pub fn add_from(offset: usize, src: &[f32], dst: &mut [f32]) {
    let len = dst.len();
    super::optimizer::axpy(dst, 1.0, &src[offset..offset + len]);
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut kept = [0.0; 6];
        gather_images(3, &[1, 3], 2.0, &tokens, &mut kept);
        assert_eq!(kept, [6., 8., 10., 18., 20., 22.]);
        let mut spread = [1.0; 12];
        scatter_images(3, &[0, 2], 0.5, &kept, &mut spread);
        assert_eq!(spread, [4., 5., 6., 1., 1., 1., 10., 11., 12., 1., 1., 1.]);
    }
}
