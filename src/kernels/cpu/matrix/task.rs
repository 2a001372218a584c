//! The tasks of a product.

use super::arithmetic::Arithmetic;
use super::block::{Left, block};
use super::cut::Cut;
use super::{COLUMNS, Epilogue, Factor, LANES, ROWS, each_task, pack};
use crate::kernels::Numbers;
use crate::kernels::cpu::lines::Lines;
use crate::kernels::cpu::split::each_part;
use std::ops::Range;

/// A product to be taken.
pub struct Job<'a, E: ?Sized> {
    pub arithmetic: Arithmetic,
    pub m: usize,
    pub n: usize,
    pub a: Factor<'a>,
    pub b: Factor<'a>,
    pub cut: Cut,
    pub epilogue: &'a E,
}

/// Factors that several tasks read, packed before they start.
#[derive(Clone, Copy)]
struct Shared<'a> {
    /// lanes[chunk][panel of rows][step][8 rows], or [chunk][row][step].
    a: Option<&'a [u32]>,
    /// lanes[chunk][panel of columns][step][up to 48 columns].
    b: Option<&'a [u32]>,
}

fn padded(rows: usize) -> usize {
    rows.next_multiple_of(ROWS)
}

impl<E: Epilogue + ?Sized> Job<'_, E> {
    pub fn run(&self) {
        let Cut { rows, columns, chunks, .. } = self.cut;
        // what one task alone reads, that task packs in its own cache
        let lies = pack::lies_packed(self.arithmetic, self.a);
        let mut a = (columns.count() > 1 && !lies).then(|| self.pack_a());
        let mut b = (rows.count() > 1).then(|| self.pack_b());
        let shared = Shared { a: a.as_mut().map(|a| &*a.lanes()), b: b.as_mut().map(|b| &*b.lanes()) };
        if self.cut.parts.count() > 1 {
            self.run_in_parts(shared);
        } else {
            each_task(rows.count() * columns.count(), |task| {
                let (rows, columns) = self.block(task);
                let mut sums = Lines::take(padded(rows.len()) * self.kept(columns.len()));
                let sums = bytemuck::cast_slice_mut(sums.lanes());
                self.sum(shared, rows, columns, 0..chunks.count(), sums, true);
            });
        }
    }

    /// Columns whose sums a task keeps: with one chunk a panel is finished before the next is begun.
    fn kept(&self, columns: usize) -> usize {
        let one = self.cut.chunks.count() == 1 && self.cut.parts.count() == 1;
        columns.next_multiple_of(COLUMNS).min(if one { COLUMNS } else { usize::MAX })
    }

    /// Rows and columns of c that are a task's.
    fn block(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let Cut { rows, columns, .. } = self.cut;
        (rows.range(task / columns.count()), columns.range(task % columns.count()))
    }

    /// Long sums for a small c: each part into sums of its own, which are then added up in order.
    fn run_in_parts(&self, shared: Shared<'_>) {
        let Cut { rows, columns, parts, .. } = self.cut;
        let blocks = rows.count() * columns.count();
        let room = padded(rows.each) * self.kept(columns.each);
        let mut sums = Lines::take(blocks * parts.count() * room);
        let sums: &mut [f32] = bytemuck::cast_slice_mut(sums.lanes());
        each_part(room, sums, |task, sums| {
            let (rows, columns) = self.block(task / parts.count());
            self.sum(shared, rows, columns, parts.range(task % parts.count()), sums, false);
        });
        each_part(room * parts.count(), sums, |task, sums| {
            let (whole, rest) = sums.split_at_mut(room);
            for part in rest.chunks_exact(room) {
                add(part, whole);
            }
            let (rows, columns) = self.block(task);
            for (panel, first) in columns.clone().step_by(COLUMNS).enumerate() {
                let size = padded(rows.len()) * COLUMNS;
                self.finish(
                    &rows,
                    first..columns.end.min(first + COLUMNS),
                    &mut whole[panel * size..][..size],
                );
            }
        });
    }

    fn finish(&self, rows: &Range<usize>, columns: Range<usize>, tile: &mut [f32]) {
        if !rows.is_empty() {
            self.epilogue.take(rows.start, columns.start, (rows.len(), columns.len()), tile, COLUMNS);
        }
    }

    /// Sums a block of c over some chunks, into sums[panel][row][48], and hands it on when `last`.
    fn sum(
        &self,
        shared: Shared<'_>,
        rows: Range<usize>,
        columns: Range<usize>,
        chunks: Range<usize>,
        sums: &mut [f32],
        last: bool,
    ) {
        let each = self.cut.chunks.each;
        let size = padded(rows.len()) * COLUMNS;
        let packs_a = shared.a.is_none() && !pack::lies_packed(self.arithmetic, self.a);
        let mut own_a = Lines::take(if packs_a { padded(rows.len()) * each } else { 0 });
        let mut own_b = Lines::take(if shared.b.is_none() { COLUMNS * each } else { 0 });
        for chunk in chunks.clone() {
            let steps = self.cut.chunks.range(chunk);
            if packs_a {
                pack::rows(self.arithmetic, self.a, rows.clone(), steps.clone(), own_a.lanes());
            }
            let left = self.left(shared.a, own_a.lanes(), &rows, &steps);
            for (panel, first) in columns.clone().step_by(COLUMNS).enumerate() {
                let end = columns.end.min(first + COLUMNS);
                let room = (end - first).next_multiple_of(LANES) * steps.len();
                let right = match shared.b {
                    Some(b) => {
                        let wide = self.n.next_multiple_of(LANES);
                        &b[steps.start * wide + first * steps.len()..][..room]
                    }
                    None => {
                        pack::columns(self.arithmetic, self.b, first..end, steps.clone(), own_b.lanes());
                        &own_b.lanes()[..room]
                    }
                };
                let at = if size * (panel + 1) <= sums.len() { size * panel } else { 0 };
                let sums = &mut sums[at..][..size];
                let finished = last && chunk + 1 == chunks.end;
                let before = |row: usize| {
                    if finished {
                        let size = (ROWS.min(rows.len() - row), end - first);
                        self.epilogue.ahead(rows.start + row, first, size);
                    }
                };
                block(
                    self.arithmetic,
                    steps.len(),
                    rows.len(),
                    left,
                    right,
                    sums,
                    chunk > chunks.start,
                    before,
                );
                if finished {
                    self.finish(&rows, first..end, sums);
                }
            }
        }
    }

    /// Where a block of a stands for some steps.
    fn left<'b>(
        &'b self,
        shared: Option<&'b [u32]>,
        own: &'b [u32],
        rows: &Range<usize>,
        steps: &Range<usize>,
    ) -> Left<'b> {
        if pack::lies_packed(self.arithmetic, self.a) {
            let (bytes, size): (&[u8], _) = match self.a.data {
                Numbers::F32(a) => (bytemuck::cast_slice(a), 4),
                Numbers::Bf16(a) => (bytemuck::cast_slice(a), 2),
            };
            let at = (rows.start * self.a.across + steps.start * self.arithmetic.depth()) * size;
            return Left::Rows { bytes: &bytes[at.min(bytes.len())..], row: self.a.across * size };
        }
        // eight rows by all steps are as long in panels as in rows
        let from = steps.start * padded(self.m) + rows.start * steps.len();
        let lanes = shared.map_or(own, |a| &a[from..]);
        if pack::in_panels(self.arithmetic, self.a) {
            Left::Panels { lanes }
        } else {
            Left::Rows { bytes: bytemuck::cast_slice(lanes), row: steps.len() * 4 }
        }
    }

    fn pack_a(&self) -> Lines {
        let (high, chunks) = (padded(self.m), self.cut.chunks);
        let mut lines = Lines::take(high * chunks.whole);
        each_part((high * chunks.each).max(1), lines.lanes(), |chunk, lanes| {
            let steps = chunks.range(chunk);
            each_part(PACKED_ROWS * steps.len(), lanes, |i, lanes| {
                let rows = i * PACKED_ROWS..self.m.min((i + 1) * PACKED_ROWS);
                pack::rows(self.arithmetic, self.a, rows, steps.clone(), lanes);
            });
        });
        lines
    }

    fn pack_b(&self) -> Lines {
        let (wide, chunks) = (self.n.next_multiple_of(LANES), self.cut.chunks);
        let mut lines = Lines::take(wide * chunks.whole);
        each_part((wide * chunks.each).max(1), lines.lanes(), |chunk, lanes| {
            let steps = chunks.range(chunk);
            each_part(COLUMNS * steps.len(), lanes, |i, lanes| {
                let columns = i * COLUMNS..self.n.min((i + 1) * COLUMNS);
                pack::columns(self.arithmetic, self.b, columns, steps.clone(), lanes);
            });
        });
        lines
    }
}

/// Rows of a that one task packs.
const PACKED_ROWS: usize = 64;

fn add(part: &[f32], sum: &mut [f32]) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum += part;
    }
}
