//! Families of patterns that fill the plane, so that every crop of a picture shows its family.

use crate::data::wide::wide;
use crate::keyed::Key;

/// The families, in the order of their class numbers.
pub const FAMILIES: [&str; 10] =
    ["stripes", "checks", "dots", "rings", "waves", "grids", "blobs", "bricks", "triangles", "zigzags"];

/// Side of the table of random levels that blobs are made of; a power of two.
const TABLE: usize = 16;

/// Subsamples a pixel in each direction.
const FINE: usize = 3;

/// One pattern: a family and where, how large and how heavy it is drawn.
pub struct Pattern {
    family: usize,
    /// Periods a pixel, along the pattern's first axis: (by row, by column).
    step: (f32, f32),
    /// Where the picture's corner lies in the pattern, in periods.
    phase: (f32, f32),
    /// From 0 (thin) to 1 (heavy).
    weight: f32,
    table: [f32; TABLE * TABLE],
}

impl Pattern {
    /// Draws phase, angle, scale and weight of a pattern for pictures of this side.
    pub fn draw(family: usize, size: usize, key: Key) -> Self {
        let mut draws = key.named("pattern").draws();
        let angle = draws.uniform(0.0, std::f64::consts::TAU);
        // log-uniform: a frequency one octave up is as likely as one octave down
        let period = size as f64 * draws.uniform(0.18f64.ln(), 0.38f64.ln()).exp();
        let mut table = [0.0; TABLE * TABLE];
        let phase = (draws.uniform(0.0, 64.0) as f32, draws.uniform(0.0, 64.0) as f32);
        let weight = draws.unit() as f32;
        if FAMILIES[family] == "blobs" {
            table.fill_with(|| draws.unit() as f32);
        }
        let step = ((angle.sin() / period) as f32, (angle.cos() / period) as f32);
        Pattern { family, step, phase, weight, table }
    }

    /// How much of each pixel the pattern covers, from 0 to 1: (size, size).
    pub fn coverage(&self, size: usize) -> Vec<f32> {
        let w = self.weight;
        match FAMILIES[self.family] {
            "stripes" => self.fill(size, |u, _| fraction(u) < 0.3 + 0.4 * w),
            "checks" => self.fill(size, |u, v| {
                let heavy = 0.4 + 0.2 * w;
                (fraction(0.8 * u) < heavy) ^ (fraction(0.8 * v) < heavy)
            }),
            "dots" => self.fill(size, |u, v| from_center(u, v) < 0.25 + 0.15 * w),
            "rings" => self.fill(size, |u, v| (from_center(0.7 * u, 0.7 * v) - 0.3).abs() < 0.08 + 0.07 * w),
            "waves" => self.fill(size, |u, v| fraction(u + 0.45 * swing(0.6 * v)) < 0.3 + 0.4 * w),
            "grids" => self.fill(size, |u, v| {
                let thin = 0.14 + 0.14 * w;
                (fraction(u) < thin) | (fraction(v) < thin)
            }),
            "blobs" => self.fill(size, |u, v| self.noise(2.6 * u, 2.6 * v) > 0.58 - 0.16 * w),
            "bricks" => self.fill(size, |u, v| {
                let course = 1.3 * u;
                let shift = 0.5 * (course.floor() * 0.5).fract().abs() * 2.0;
                (fraction(course) < 0.16 + 0.12 * w) | (fraction(0.65 * v + shift) < 0.08 + 0.06 * w)
            }),
            "triangles" => self.fill(size, |u, v| {
                let (a, b) = (0.8 * u, 0.8 * (0.5 * u + 0.866 * v));
                fraction(a) + fraction(b) < 0.85 + 0.3 * w
            }),
            _ => self.fill(size, |u, v| {
                let fold = (2.0 * fraction(0.5 * v) - 1.0).abs();
                fraction(u + 1.2 * fold) < 0.3 + 0.4 * w
            }),
        }
    }

    /// Counts subsamples inside, pixel by pixel; `inside` takes a place in periods.
    fn fill(&self, size: usize, inside: impl Fn(f32, f32) -> bool) -> Vec<f32> {
        let fine = size * FINE;
        let mut coverage = vec![0.0; size * size];
        let mut line = vec![0u8; fine];
        let places: Vec<f32> = (0..fine).map(|i| (i as f32 + 0.5) / FINE as f32).collect();
        let (by_row, by_column) = self.step;
        wide(
            #[inline(always)]
            || {
                for row in 0..fine {
                    let y = places[row];
                    let start = (self.phase.0 + y * by_row, self.phase.1 + y * by_column);
                    for (hit, &x) in line.iter_mut().zip(&places) {
                        *hit = u8::from(inside(start.0 + x * by_column, start.1 - x * by_row));
                    }
                    let pixels = &mut coverage[row / FINE * size..][..size];
                    for (pixel, hits) in pixels.iter_mut().zip(line.as_chunks::<FINE>().0) {
                        *pixel += f32::from(hits.iter().sum::<u8>()) * (1.0 / (FINE * FINE) as f32);
                    }
                }
            },
        );
        coverage
    }

    /// Smooth noise from 0 to 1: random levels at whole places, blended between.
    #[inline(always)]
    fn noise(&self, u: f32, v: f32) -> f32 {
        let (cell_u, cell_v) = (u.floor(), v.floor());
        let (a, b) = (smooth(u - cell_u), smooth(v - cell_v));
        let at = |du: i32, dv: i32| {
            let (i, j) = (cell_u as i32 + du, cell_v as i32 + dv);
            self.table[(i as usize % TABLE) * TABLE + j as usize % TABLE]
        };
        let (near, far) = (at(0, 0) * (1.0 - b) + at(0, 1) * b, at(1, 0) * (1.0 - b) + at(1, 1) * b);
        near * (1.0 - a) + far * a
    }
}

/// Distance from the middle of the unit cell.
#[inline(always)]
fn from_center(u: f32, v: f32) -> f32 {
    let (u, v) = (fraction(u) - 0.5, fraction(v) - 0.5);
    (u * u + v * v).sqrt()
}

#[inline(always)]
fn fraction(t: f32) -> f32 {
    t - t.floor()
}

#[inline(always)]
fn smooth(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

/// Up and down between 0 and 1 once a period, nearly a sine.
#[inline(always)]
fn swing(t: f32) -> f32 {
    smooth((2.0 * fraction(t) - 1.0).abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crop_shows_every_family() {
        // the smallest local crop of the paper covers 5 % of the area: a window of 0.22 of the side
        for (family, name) in FAMILIES.iter().enumerate() {
            let size = 64;
            let mut plain = 0;
            let mut windows = 0;
            for i in 0..40 {
                let coverage = Pattern::draw(family, size, Key::new(i)).coverage(size);
                for (top, left) in [(0, 0), (20, 37), (44, 12), (44, 44)] {
                    let window = (0..20).flat_map(|y| (0..20).map(move |x| (top + y) * size + left + x));
                    let mean = window.map(|at| coverage[at]).sum::<f32>() / 400.0;
                    windows += 1;
                    plain += usize::from(!(0.04..0.96).contains(&mean));
                }
            }
            assert!(plain * 50 <= windows, "{name}: {plain} of {windows} windows are plain");
        }
    }

    #[test]
    fn edges_are_smooth() {
        for (family, name) in FAMILIES.iter().enumerate() {
            let coverage = Pattern::draw(family, 32, Key::new(family as u64)).coverage(32);
            assert!(coverage.iter().all(|c| (0.0..1.001).contains(c)));
            assert!(coverage.iter().any(|c| (0.2..0.8).contains(c)), "{name}");
        }
    }
}
