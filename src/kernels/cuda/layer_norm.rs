//! Layer norm over rows of `dim` values: a row is read once and kept in registers.

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, launch};
use super::view::{Any, AnyMut, Kind, View, ViewMut};
use crate::kernels::Rows;

/// How a row is held: so many warps, each lane with so many times four numbers; and whether every row starts on a boundary of four
/// numbers and ends on one, so that they are read four at a time.
type Team = (usize, usize, bool);

/// In the order in which they are tried.
const TEAMS: [Team; 11] = [
    (1, 1, true),
    (1, 2, true),
    (1, 3, true),
    (1, 6, true),
    (1, 8, true),
    (4, 3, true),
    (4, 4, true),
    (4, 8, true),
    (8, 8, true),
    (1, 8, false),
    (8, 8, false),
];

/// The most blocks that go through rows to add up the columns of a gradient: as many as an H100 holds at once, twice. More would
/// leave more sums to be added after them. It is the same on every GPU, so that sums are.
const PARTS: usize = 1056;

/// The kernel for rows held by a team, of numbers of one kind: `named!("layer_norm_forward", team, kind)`.
macro_rules! named {
    ($kernel:literal, $team:expr, $kind:expr) => {
        named!(@each $kernel, $team, $kind; (1, 1, true, "even") (1, 2, true, "even") (1, 3, true, "even") (1, 6, true, "even")
            (1, 8, true, "even") (4, 3, true, "even") (4, 4, true, "even") (4, 8, true, "even") (8, 8, true, "even")
            (1, 8, false, "odd") (8, 8, false, "odd"))
    };
    (@each $kernel:literal, $team:expr, $kind:expr; $(($warps:literal, $fours:literal, $even:literal, $word:literal))*) => {
        match ($team, $kind) {
            $(
                (($warps, $fours, $even), Kind::F32) => concat!($kernel, "_", $warps, "x", $fours, "_", $word, "_f32"),
                (($warps, $fours, $even), Kind::Bf16) => concat!($kernel, "_", $warps, "x", $fours, "_", $word, "_bf16"),
                (($warps, $fours, $even), Kind::F16) => concat!($kernel, "_", $warps, "x", $fours, "_", $word, "_f16"),
            )*
            (team, _) => unreachable!("{team:?} is none of the teams"),
        }
    };
}

/// The smallest team that holds a row of matrices that start at these places of f32 numbers, and at that of another kind.
fn team(dim: usize, f32: &[u64], (other, kind): (u64, Kind)) -> Team {
    let on_boundaries =
        f32.iter().all(|place| place.is_multiple_of(16)) && other.is_multiple_of(4 * kind.size() as u64);
    let rows_are_even = dim.is_multiple_of(4) && on_boundaries;
    let holds = |&(warps, fours, even): &Team| even == rows_are_even && dim <= 128 * warps * fours;
    TEAMS.into_iter().find(holds).unwrap_or_else(|| panic!("a layer norm over {dim} numbers, more than 8192"))
}

/// Rows that a block works on at once, and its threads.
fn block((warps, ..): Team) -> (usize, u32) {
    if warps == 1 { (4, 128) } else { (1, 32 * warps as u32) }
}

/// y = (x - mean) · rstd · gain + bias of those rows of x that are named; y, mean and rstd (rows) hold them alone.
pub fn forward(
    gpu: &Gpu,
    rows: Rows<'_>,
    dim: usize,
    eps: f32,
    x: View<'_>,
    gain: View<'_>,
    bias: View<'_>,
    y: AnyMut<'_>,
    mean: ViewMut<'_>,
    rstd: ViewMut<'_>,
) -> Result<(), CudaError> {
    let count = rows.len();
    rows.assert_within(dim, x.len());
    assert_eq!([y.len(), mean.len(), rstd.len()], [count * dim, count, count], "layer norm");
    assert_eq!([gain.len(), bias.len()], [dim; 2], "gain and bias of a layer norm");
    let team = team(dim, &[x, gain, bias].map(View::pointer), (y.pointer(), y.kind()));
    let (at_once, threads) = block(team);
    let kernel = named!("layer_norm_forward", team, y.kind());
    let launch = Launch::blocks(count.div_ceil(at_once), threads);
    launch!(gpu, kernel, launch; gpu.rows(rows)?, dim as i32, eps, x, gain, bias, y, mean, rstd)
}

/// dx, dgain and dbias are added to. x and dx hold the rows that are named among others; dy, mean and rstd hold them alone.
pub fn backward(
    gpu: &Gpu,
    rows: Rows<'_>,
    dim: usize,
    dy: Any<'_>,
    x: View<'_>,
    gain: View<'_>,
    mean: View<'_>,
    rstd: View<'_>,
    dx: ViewMut<'_>,
    dgain: ViewMut<'_>,
    dbias: ViewMut<'_>,
) -> Result<(), CudaError> {
    rows.assert_within(dim, x.len());
    let count = rows.len();
    assert_eq!(dx.len(), x.len(), "x and dx of a layer norm");
    assert_eq!(
        [dy.len(), mean.len(), rstd.len()],
        [count * dim, count, count],
        "dy and statistics of a layer norm"
    );
    assert_eq!([gain.len(), dgain.len(), dbias.len()], [dim; 3], "gain and its gradients in a layer norm");
    if count * dim == 0 {
        return Ok(());
    }
    let places = [x.pointer(), gain.pointer(), dx.pointer()];
    let team = team(dim, &places, (dy.pointer(), dy.kind()));
    let (at_once, threads) = block(team);
    let stretch = count.div_ceil(count.div_ceil(at_once).min(PARTS));
    let parts = count.div_ceil(stretch);
    let partial = gpu.unwritten(Kind::F32, parts * 2 * dim)?;
    let kernel = named!("layer_norm_backward", team, dy.kind());
    launch!(gpu, kernel, Launch::blocks(parts, threads); gpu.rows(rows)?, stretch as i32, dim as i32, dy, x, gain, mean, rstd,
        dx, partial)?;
    let columns = Launch::blocks((2 * dim).div_ceil(32), 1024);
    launch!(gpu, "layer_norm_columns", columns; parts as i32, dim as i32, partial, dgain, dbias)
}

#[cfg(test)]
mod tests;
