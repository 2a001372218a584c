//! How work is cut into tasks: by shape alone, never by the number of threads.

use rayon::prelude::*;
use std::cell::RefCell;

/// Elements a task of elementwise work has: long enough to pay for its start, short enough to stay in the L2 cache.
pub const TASK: usize = 1 << 14;

/// Rows a reduction over rows adds up before its partial sum is handed on.
pub const SUM_ROWS: usize = 64;

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends this thread's scratch memory, whose contents are whatever the last user left. Not to be nested, nor held over
/// work on several threads, which may bring another task to this one.
pub fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < length {
            scratch.resize(length, 0.0);
        }
        work(&mut scratch[..length])
    })
}

/// Rows of this width that make up one task.
pub fn rows_per_task(width: usize) -> usize {
    (TASK / width.max(1)).max(1)
}

/// Calls `work(part, slice)` for each `chunk` of a slice, in parallel when there is more than one.
pub fn each_part<T: Send>(chunk: usize, a: &mut [T], work: impl Fn(usize, &mut [T]) + Sync + Send) {
    if a.len() <= chunk {
        if !a.is_empty() {
            work(0, a);
        }
        return;
    }
    a.par_chunks_mut(chunk).enumerate().for_each(|(i, a)| work(i, a));
}

/// The same for two slices cut side by side, each with its own chunk.
pub fn each_part2<T: Send, U: Send>(
    (a_chunk, a): (usize, &mut [T]),
    (b_chunk, b): (usize, &mut [U]),
    work: impl Fn(usize, &mut [T], &mut [U]) + Sync + Send,
) {
    if a.len() <= a_chunk {
        if !a.is_empty() {
            work(0, a, b);
        }
        return;
    }
    a.par_chunks_mut(a_chunk)
        .zip(b.par_chunks_mut(b_chunk))
        .enumerate()
        .for_each(|(i, (a, b))| work(i, a, b));
}

/// The same for three slices.
pub fn each_part3<T: Send, U: Send, V: Send>(
    (a_chunk, a): (usize, &mut [T]),
    (b_chunk, b): (usize, &mut [U]),
    (c_chunk, c): (usize, &mut [V]),
    work: impl Fn(usize, &mut [T], &mut [U], &mut [V]) + Sync + Send,
) {
    if a.len() <= a_chunk {
        if !a.is_empty() {
            work(0, a, b, c);
        }
        return;
    }
    a.par_chunks_mut(a_chunk)
        .zip(b.par_chunks_mut(b_chunk))
        .zip(c.par_chunks_mut(c_chunk))
        .enumerate()
        .for_each(|(i, ((a, b), c))| work(i, a, b, c));
}

/// Calls `work(task)` for each of so many tasks, in parallel when there is more than one.
pub fn each_task(tasks: usize, work: impl Fn(usize) + Sync + Send) {
    if tasks <= 1 {
        (0..tasks).for_each(work);
    } else {
        (0..tasks).into_par_iter().for_each(work);
    }
}

/// Adds to `out` the sum over all rows, each group of `SUM_ROWS` rows summed by `work(rows, partial)` into zeros and the
/// partial sums added in order.
pub fn sum_over_rows(
    rows: usize,
    out: &mut [f32],
    work: impl Fn(std::ops::Range<usize>, &mut [f32]) + Sync + Send,
) {
    let width = out.len();
    let mut partial = vec![0.0; rows.div_ceil(SUM_ROWS) * width];
    each_part(width.max(1), &mut partial, |i, sum| {
        work(i * SUM_ROWS..((i + 1) * SUM_ROWS).min(rows), sum);
    });
    for sum in partial.chunks_exact(width.max(1)) {
        for (o, s) in out.iter_mut().zip(sum) {
            *o += s;
        }
    }
}
