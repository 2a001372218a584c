//! Transposition in tiles of eight, for products whose left factor would otherwise be gathered value by value.

use super::isa::{Isa, isa};

/// Rows and columns of a tile.
const TILE: usize = 8;

/// y (cols, rows) = xᵀ for x (rows, cols); rows of x are `x_row` apart, rows of y `y_row`.
pub fn transpose((rows, cols): (usize, usize), x: &[f32], x_row: usize, y: &mut [f32], y_row: usize) {
    if rows == 0 || cols == 0 {
        return;
    }
    assert!((rows - 1) * x_row + cols <= x.len() && cols <= x_row, "the matrix to transpose is too short");
    assert!((cols - 1) * y_row + rows <= y.len() && rows <= y_row, "the transpose has too little room");
    let tiles = (rows / TILE * TILE, cols / TILE * TILE);
    // two tiles at a time in both directions: whole cache lines on both sides
    for (r, c) in pairs(tiles.0).flat_map(|r| pairs(tiles.1).map(move |c| (r, c))) {
        for r in (r..tiles.0.min(r + 2 * TILE)).step_by(TILE) {
            for c in (c..tiles.1.min(c + 2 * TILE)).step_by(TILE) {
                tile(&x[r * x_row + c..], x_row, &mut y[c * y_row + r..], y_row);
            }
        }
    }
    for r in 0..rows {
        let edge = if r < tiles.0 { tiles.1 } else { 0 };
        for c in edge..cols {
            y[c * y_row + r] = x[r * x_row + c];
        }
    }
}

/// Where pairs of tiles start.
fn pairs(end: usize) -> impl Iterator<Item = usize> {
    (0..end).step_by(2 * TILE)
}

fn tile(x: &[f32], x_row: usize, y: &mut [f32], y_row: usize) {
    assert!(7 * x_row + TILE <= x.len() && 7 * y_row + TILE <= y.len(), "a tile has eight rows of eight");
    #[cfg(target_arch = "x86_64")]
    if isa() != Isa::Portable {
        // SAFETY: `isa` found AVX2 or more; the assertion keeps all rows of eight inside their slices
        unsafe { tile_avx2(x.as_ptr(), x_row, y.as_mut_ptr(), y_row) };
        return;
    }
    for r in 0..TILE {
        for c in 0..TILE {
            y[c * y_row + r] = x[r * x_row + c];
        }
    }
}

/// # Safety
/// Eight rows of eight values must be readable at x and writable at y.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn tile_avx2(x: *const f32, x_row: usize, y: *mut f32, y_row: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller vouches for the eight rows
    let row = |r: usize| unsafe { _mm256_loadu_ps(x.add(r * x_row)) };
    // pairs of rows interleaved, then pairs of pairs, then the registers' halves swapped
    let pairs: [(__m256, __m256); 4] = std::array::from_fn(|i| {
        let (a, b) = (row(2 * i), row(2 * i + 1));
        (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b))
    });
    let quads: [[__m256; 4]; 2] = [0, 2].map(|i| {
        let ((a, b), (c, d)) = (pairs[i], pairs[i + 1]);
        [
            _mm256_shuffle_ps::<0x44>(a, c),
            _mm256_shuffle_ps::<0xEE>(a, c),
            _mm256_shuffle_ps::<0x44>(b, d),
            _mm256_shuffle_ps::<0xEE>(b, d),
        ]
    });
    for (c, (low, high)) in quads[0].into_iter().zip(quads[1]).enumerate() {
        // SAFETY: the caller vouches for the eight rows
        unsafe {
            _mm256_storeu_ps(y.add(c * y_row), _mm256_permute2f128_ps::<0x20>(low, high));
            _mm256_storeu_ps(y.add((c + 4) * y_row), _mm256_permute2f128_ps::<0x31>(low, high));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::transpose;
    use crate::kernels::cpu::{Isa, force};
    use crate::kernels::probe::{poison, values};

    fn check(rows: usize, cols: usize, x_pad: usize, y_pad: usize) {
        let (x_row, y_row) = (cols + x_pad, rows + y_pad);
        let x = values("x", rows * x_row);
        for isa in [Isa::Avx512, Isa::Portable] {
            force(isa);
            let mut y = poison(cols * y_row);
            transpose((rows, cols), &x, x_row, &mut y, y_row);
            for (i, y) in y.iter().enumerate() {
                let (c, r) = (i / y_row, i % y_row);
                assert!(
                    if r < rows { *y == x[r * x_row + c] } else { y.is_nan() },
                    "{rows}x{cols} at {r}, {c}"
                );
            }
        }
    }

    #[test]
    fn transposes_with_tiles_and_edges() {
        for (rows, cols) in [(1, 1), (8, 8), (7, 9), (16, 24), (17, 8), (37, 64), (64, 37)] {
            check(rows, cols, 0, 0);
            check(rows, cols, 3, 5);
        }
    }
}
