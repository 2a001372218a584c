//! Packing on any processor: one f32 a lane.

use super::Factor;
use super::tile::{LANES, ROWS};
use crate::kernels::Numbers;
use half::bf16;
use std::ops::Range;

fn lane(rounded: bool, x: Factor<'_>, across: usize, along: usize) -> u32 {
    let at = across * x.across + along * x.along;
    match x.data {
        Numbers::Bf16(x) => u32::from(x[at].to_bits()) << 16,
        Numbers::F32(x) if rounded => bf16::from_f32(x[at]).to_f32().to_bits(),
        Numbers::F32(x) => x[at].to_bits(),
    }
}

pub fn columns(rounded: bool, b: Factor<'_>, columns: Range<usize>, steps: Range<usize>, lanes: &mut [u32]) {
    let width = columns.len().next_multiple_of(LANES);
    if width == 0 {
        return;
    }
    for (s, lanes) in steps.zip(lanes.chunks_exact_mut(width)) {
        for (j, to) in (columns.start..).zip(lanes) {
            *to = if j < columns.end { lane(rounded, b, j, s) } else { 0 };
        }
    }
}

pub fn rows(rounded: bool, a: Factor<'_>, rows: Range<usize>, steps: Range<usize>, lanes: &mut [u32]) {
    if steps.is_empty() {
        return;
    }
    for (i, lanes) in rows.zip(lanes.chunks_exact_mut(steps.len())) {
        for (s, to) in steps.clone().zip(lanes) {
            *to = lane(rounded, a, i, s);
        }
    }
}

pub fn row_panels(rounded: bool, a: Factor<'_>, rows: Range<usize>, steps: Range<usize>, lanes: &mut [u32]) {
    if steps.is_empty() {
        return;
    }
    for (first, lanes) in rows.clone().step_by(ROWS).zip(lanes.chunks_exact_mut(ROWS * steps.len())) {
        for (s, lanes) in steps.clone().zip(lanes.chunks_exact_mut(ROWS)) {
            for (i, to) in (first..).zip(lanes) {
                *to = if i < rows.end { lane(rounded, a, i, s) } else { 0 };
            }
        }
    }
}
