//! What becomes of finished sums: stored, added, sent through a GELU or its derivative, or added to a residual.

use super::Epilogue;
use super::out::{In, Out, load};
use crate::kernels::cpu::lanes::{gelu, gelu_half, gelu_slope, gelu_slope_half, map};
use crate::kernels::cpu::vectors::{Vectors, WIDTH};
use crate::kernels::{NumbersMut, Rows};

/// y = c + bias.
pub struct Store<'a> {
    bias: Option<&'a [f32]>,
    y: Out<'a>,
}

/// y += c.
pub struct Add<'a> {
    y: Out<'a>,
}

/// pre = c + bias, act = gelu(pre) of what is not yet rounded.
pub struct Gelu<'a> {
    bias: Option<&'a [f32]>,
    pre: Out<'a>,
    act: Out<'a>,
}

/// act = gelu(c + bias), for whoever needs no slope of it.
pub struct GeluAlone<'a> {
    bias: Option<&'a [f32]>,
    act: Out<'a>,
}

/// dpre = c · gelu'(pre), and pre becomes gelu(pre).
pub struct GeluBackward<'a> {
    pre: Out<'a>,
    dpre: Out<'a>,
}

/// y = residual + scale · (c + bias).
pub struct Residual<'a> {
    scale: f32,
    bias: Option<&'a [f32]>,
    residual: In<'a>,
    y: Out<'a>,
}

impl<'a> Store<'a> {
    /// For y of rows `width` wide, as of every epilogue.
    pub fn new(bias: Option<&'a [f32]>, width: usize, y: NumbersMut<'a>) -> Self {
        assert!(bias.is_none_or(|b| b.len() == width), "a bias for {width} columns");
        Store { bias, y: Out::new(width, y) }
    }
}

impl<'a> Add<'a> {
    pub fn new(width: usize, y: &'a mut [f32]) -> Self {
        Add { y: Out::new(width, y.into()) }
    }
}

impl<'a> Gelu<'a> {
    pub fn new(bias: Option<&'a [f32]>, width: usize, pre: NumbersMut<'a>, act: NumbersMut<'a>) -> Self {
        assert!(bias.is_none_or(|b| b.len() == width), "a bias for {width} columns");
        Gelu { bias, pre: Out::new(width, pre), act: Out::new(width, act) }
    }
}

impl<'a> GeluAlone<'a> {
    pub fn new(bias: Option<&'a [f32]>, width: usize, act: NumbersMut<'a>) -> Self {
        assert!(bias.is_none_or(|b| b.len() == width), "a bias for {width} columns");
        GeluAlone { bias, act: Out::new(width, act) }
    }
}

impl<'a> GeluBackward<'a> {
    pub fn new(pre: NumbersMut<'a>, width: usize, dpre: NumbersMut<'a>) -> Self {
        // what holds for a piece of the one holds for the other
        assert_eq!(pre.len(), dpre.len(), "a GELU's input and its gradient");
        GeluBackward { pre: Out::new(width, pre), dpre: Out::new(width, dpre) }
    }
}

impl<'a> Residual<'a> {
    pub fn new(
        scale: f32,
        bias: Option<&'a [f32]>,
        residual: &'a [f32],
        width: usize,
        y: &'a mut [f32],
    ) -> Self {
        assert!(bias.is_none_or(|b| b.len() == width), "a bias for {width} columns");
        assert_eq!(residual.len(), y.len(), "a residual and what is added to it");
        let residual = In { data: residual.into(), width };
        Residual { scale, bias, residual, y: Out::new(width, y.into()) }
    }
}

/// Another epilogue's work at a place of its own: row 0 and column 0 of the product are `row` and `column` there.
pub struct Within<'a, E> {
    pub row: usize,
    pub column: usize,
    pub of: &'a E,
}

impl<E: Epilogue> Epilogue for Within<'_, E> {
    fn take(&self, first: usize, left: usize, size: (usize, usize), tile: &mut [f32], stride: usize) {
        self.of.take(self.row + first, self.column + left, size, tile, stride);
    }
}

/// Another epilogue's work with the product's rows among others: each where `rows` says that it stands.
pub struct Through<'a, E> {
    rows: Rows<'a>,
    of: &'a E,
}

impl<'a, E> Through<'a, E> {
    /// For an epilogue whose outputs hold so many numbers, `width` to a row.
    pub fn new(rows: Rows<'a>, (width, numbers): (usize, usize), of: &'a E) -> Self {
        // no two rows of the product may be written to one place
        rows.assert_within(width, numbers);
        Through { rows, of }
    }
}

impl<E: Epilogue> Epilogue for Through<'_, E> {
    fn take(&self, first: usize, left: usize, (h, w): (usize, usize), tile: &mut [f32], stride: usize) {
        for (run, at) in self.rows.runs(first..first + h) {
            let tile = &mut tile[(run.start - first) * stride..];
            self.of.take(at, left, (run.len(), w), tile, stride);
        }
    }

    fn ahead(&self, first: usize, left: usize, (h, w): (usize, usize)) {
        for (run, at) in self.rows.runs(first..first + h) {
            self.of.ahead(at, left, (run.len(), w));
        }
    }
}

/// What is done with up to sixteen sums of one row.
trait Finish {
    /// # Safety
    /// Columns col..col + count of the row must lie within every output, and be this task's.
    unsafe fn finish<I: Vectors>(&self, row: usize, col: usize, count: usize, c: I::V);
}

#[inline(always)]
fn biased<I: Vectors>(bias: Option<&[f32]>, col: usize, count: usize, c: I::V) -> I::V {
    bias.map_or(c, |bias| I::add(c, load::<I>(&bias[col..col + count])))
}

impl Finish for Store<'_> {
    #[inline(always)]
    unsafe fn finish<I: Vectors>(&self, row: usize, col: usize, count: usize, c: I::V) {
        // SAFETY: handed on
        unsafe { self.y.put::<I>(row, col, count, biased::<I>(self.bias, col, count, c)) }
    }
}

impl Finish for Add<'_> {
    #[inline(always)]
    unsafe fn finish<I: Vectors>(&self, row: usize, col: usize, count: usize, c: I::V) {
        // SAFETY: handed on
        unsafe { self.y.put::<I>(row, col, count, I::add(self.y.get::<I>(row, col, count), c)) }
    }
}

/// GELU in the precision that it is stored in.
#[inline(always)]
fn gelu_for<I: Vectors>(out: &Out<'_>, pre: I::V) -> I::V {
    if out.is_half() { map::<I>(pre, gelu_half::<I>) } else { map::<I>(pre, gelu::<I>) }
}

impl Finish for Gelu<'_> {
    #[inline(always)]
    unsafe fn finish<I: Vectors>(&self, row: usize, col: usize, count: usize, c: I::V) {
        let pre = biased::<I>(self.bias, col, count, c);
        // SAFETY: handed on
        unsafe {
            self.pre.put::<I>(row, col, count, pre);
            self.act.put::<I>(row, col, count, gelu_for::<I>(&self.act, pre));
        }
    }
}

impl Finish for GeluAlone<'_> {
    #[inline(always)]
    unsafe fn finish<I: Vectors>(&self, row: usize, col: usize, count: usize, c: I::V) {
        let pre = biased::<I>(self.bias, col, count, c);
        // SAFETY: handed on
        unsafe { self.act.put::<I>(row, col, count, gelu_for::<I>(&self.act, pre)) }
    }
}

impl Finish for GeluBackward<'_> {
    #[inline(always)]
    unsafe fn finish<I: Vectors>(&self, row: usize, col: usize, count: usize, c: I::V) {
        // SAFETY: handed on
        let pre = unsafe { self.pre.get::<I>(row, col, count) };
        let slope = if self.dpre.is_half() {
            map::<I>(pre, gelu_slope_half::<I>)
        } else {
            map::<I>(pre, gelu_slope::<I>)
        };
        // SAFETY: handed on
        unsafe {
            self.dpre.put::<I>(row, col, count, I::mul(c, slope));
            self.pre.put::<I>(row, col, count, gelu_for::<I>(&self.pre, pre));
        }
    }
}

impl Finish for Residual<'_> {
    #[inline(always)]
    unsafe fn finish<I: Vectors>(&self, row: usize, col: usize, count: usize, c: I::V) {
        let residual = self.residual.get::<I>(row, col, count);
        let y = I::mul_add(I::splat(self.scale), biased::<I>(self.bias, col, count, c), residual);
        // SAFETY: handed on
        unsafe { self.y.put::<I>(row, col, count, y) }
    }
}

/// Finishes a tile sixteen sums at a time.
#[inline(always)]
unsafe fn each<I: Vectors>(
    to: &impl Finish,
    first: usize,
    left: usize,
    (h, w): (usize, usize),
    tile: &[f32],
    stride: usize,
) {
    for r in 0..h {
        let (whole, rest) = tile[r * stride..][..w].as_chunks::<WIDTH>();
        for (i, c) in whole.iter().enumerate() {
            // SAFETY: handed on
            unsafe { to.finish::<I>(first + r, left + i * WIDTH, WIDTH, I::load(c)) }
        }
        if !rest.is_empty() {
            // SAFETY: as above
            unsafe { to.finish::<I>(first + r, left + w - rest.len(), rest.len(), load::<I>(rest)) }
        }
    }
}

/// Compiles an epilogue for every instruction set.
macro_rules! epilogues {
    ($($epilogue:ident by $each:ident: writes [$($out:ident),+] reads [$($input:ident)?];)+) => {$(
        vectorised! {
            fn $each<I>(to: &$epilogue<'_>, first: usize, left: usize, size: (usize, usize), tile: &[f32], stride: usize) {
                // SAFETY: `take` has checked that the tile lies within; it is this task's alone
                unsafe { each::<I>(to, first, left, size, tile, stride) }
            }
        }

        impl Epilogue for $epilogue<'_> {
            fn take(&self, first: usize, left: usize, size: (usize, usize), tile: &mut [f32], stride: usize) {
                $(self.$out.assert_holds(first, left, size);)+
                $each(self, first, left, size, tile, stride);
            }

            fn ahead(&self, first: usize, left: usize, size: (usize, usize)) {
                $(self.$out.ahead(first, left, size);)+
                $(self.$input.ahead_to_read(first, left, size);)?
            }
        }
    )+};
}

epilogues! {
    Store by store: writes [y] reads [];
    Add by add: writes [y] reads [];
    Gelu by through_gelu: writes [pre, act] reads [];
    GeluAlone by through_gelu_alone: writes [act] reads [];
    GeluBackward by through_slope: writes [dpre] reads [pre];
    Residual by onto_residual: writes [y] reads [residual];
}
