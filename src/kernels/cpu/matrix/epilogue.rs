//! Interim epilogues.
use super::super::convert::{narrow, widen};
use super::super::lanes::{gelu, gelu_slope};
use super::Epilogue;
use crate::kernels::{Numbers, NumbersMut};
use half::bf16;

#[derive(Clone, Copy)]
enum Out {
    F32(*mut f32),
    Bf16(*mut bf16),
}
unsafe impl Send for Out {}
unsafe impl Sync for Out {}
impl Out {
    fn new(x: NumbersMut<'_>) -> Self {
        match x {
            NumbersMut::F32(x) => Out::F32(x.as_mut_ptr()),
            NumbersMut::Bf16(x) => Out::Bf16(x.as_mut_ptr()),
        }
    }
    fn put(self, at: usize, row: &[f32]) {
        match self {
            Out::F32(p) => {
                unsafe { std::slice::from_raw_parts_mut(p.add(at), row.len()) }.copy_from_slice(row)
            }
            Out::Bf16(p) => narrow(row, unsafe { std::slice::from_raw_parts_mut(p.add(at), row.len()) }),
        }
    }
    fn get(self, at: usize, n: usize) -> &'static mut [f32] {
        match self {
            Out::F32(p) => unsafe { std::slice::from_raw_parts_mut(p.add(at), n) },
            _ => unreachable!(),
        }
    }
}
fn get(x: Numbers<'_>, at: usize, n: usize) -> Vec<f32> {
    match x {
        Numbers::F32(x) => x[at..at + n].to_vec(),
        Numbers::Bf16(x) => {
            let mut y = vec![0.0; n];
            widen(&x[at..at + n], &mut y);
            y
        }
    }
}

pub struct Store<'a> {
    bias: Option<&'a [f32]>,
    n: usize,
    out: Out,
}
impl<'a> Store<'a> {
    pub fn new(bias: Option<&'a [f32]>, n: usize, out: NumbersMut<'_>) -> Self {
        Store { bias, n, out: Out::new(out) }
    }
}
impl Epilogue for Store<'_> {
    fn take(&self, first: usize, left: usize, (h, w): (usize, usize), tile: &mut [f32], stride: usize) {
        for r in 0..h {
            let t = &mut tile[r * stride..r * stride + w];
            if let Some(b) = self.bias {
                t.iter_mut().zip(&b[left..]).for_each(|(t, b)| *t += b);
            }
            self.out.put((first + r) * self.n + left, t);
        }
    }
}
pub struct Add {
    n: usize,
    out: Out,
}
impl Add {
    pub fn new(n: usize, out: &mut [f32]) -> Self {
        Add { n, out: Out::new(out.into()) }
    }
}
impl Epilogue for Add {
    fn take(&self, first: usize, left: usize, (h, w): (usize, usize), tile: &mut [f32], stride: usize) {
        for r in 0..h {
            let t = &tile[r * stride..r * stride + w];
            self.out.get((first + r) * self.n + left, w).iter_mut().zip(t).for_each(|(o, t)| *o += t);
        }
    }
}
pub struct Gelu<'a> {
    bias: Option<&'a [f32]>,
    n: usize,
    pre: Out,
    act: Out,
}
impl<'a> Gelu<'a> {
    pub fn new(bias: Option<&'a [f32]>, n: usize, pre: NumbersMut<'_>, act: NumbersMut<'_>) -> Self {
        Gelu { bias, n, pre: Out::new(pre), act: Out::new(act) }
    }
}
impl Epilogue for Gelu<'_> {
    fn take(&self, first: usize, left: usize, (h, w): (usize, usize), tile: &mut [f32], stride: usize) {
        for r in 0..h {
            let t = &mut tile[r * stride..r * stride + w];
            if let Some(b) = self.bias {
                t.iter_mut().zip(&b[left..]).for_each(|(t, b)| *t += b);
            }
            self.pre.put((first + r) * self.n + left, t);
            gelus(t);
            self.act.put((first + r) * self.n + left, t);
        }
    }
}
pub struct GeluBackward<'a> {
    pre: Numbers<'a>,
    n: usize,
    out: Out,
}
impl<'a> GeluBackward<'a> {
    pub fn new(pre: Numbers<'a>, n: usize, out: NumbersMut<'_>) -> Self {
        GeluBackward { pre, n, out: Out::new(out) }
    }
}
impl Epilogue for GeluBackward<'_> {
    fn take(&self, first: usize, left: usize, (h, w): (usize, usize), tile: &mut [f32], stride: usize) {
        for r in 0..h {
            let t = &mut tile[r * stride..r * stride + w];
            slopes(&get(self.pre, (first + r) * self.n + left, w), t);
            self.out.put((first + r) * self.n + left, t);
        }
    }
}
pub struct Residual<'a> {
    pub bias: Option<&'a [f32]>,
    pub residual: &'a [f32],
    n: usize,
    out: Out,
}
impl<'a> Residual<'a> {
    pub fn new(bias: Option<&'a [f32]>, residual: &'a [f32], n: usize, out: &mut [f32]) -> Self {
        Residual { bias, residual, n, out: Out::new(out.into()) }
    }
}
impl Epilogue for Residual<'_> {
    fn take(&self, first: usize, left: usize, (h, w): (usize, usize), tile: &mut [f32], stride: usize) {
        for r in 0..h {
            let t = &mut tile[r * stride..r * stride + w];
            if let Some(b) = self.bias {
                t.iter_mut().zip(&b[left..]).for_each(|(t, b)| *t += b);
            }
            let at = (first + r) * self.n + left;
            t.iter_mut().zip(&self.residual[at..]).for_each(|(t, x)| *t += x);
            self.out.put(at, t);
        }
    }
}
vectorised! {
    fn gelus<I>(x: &mut [f32]) {
        for x in x {
            *x = gelu::<I>(*x);
        }
    }
    fn slopes<I>(pre: &[f32], x: &mut [f32]) {
        for (x, p) in x.iter_mut().zip(pre) {
            *x *= gelu_slope::<I>(*p);
        }
    }
}
