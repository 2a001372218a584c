use rayon::prelude::*;
use std::time::Instant;
fn filled(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 2003) as f32 / 1001.5 - 1.0).collect()
}
#[derive(Clone, Copy)]
struct P(*mut f32);
unsafe impl Send for P {}
unsafe impl Sync for P {}
impl P {
    fn p(self) -> *mut f32 {
        self.0
    }
}
unsafe fn g(
    m: usize,
    n: usize,
    k: usize,
    a: *const f32,
    ar: isize,
    ac: isize,
    b: *const f32,
    br: isize,
    bc: isize,
    c: *mut f32,
    cr: isize,
    par: gemm::Parallelism,
) {
    unsafe { gemm::gemm(m, n, k, c, 1, cr, false, a, ac, ar, b, bc, br, 1.0, 1.0, false, false, false, par) }
}
fn transpose(rows: usize, cols: usize, x: &[f32], y: &mut [f32]) {
    // x rows×cols -> y cols×rows
    y.par_chunks_mut(16 * rows).enumerate().for_each(|(i, y)| {
        // 16 columns of x
        let c0 = i * 16;
        let w = y.len() / rows;
        for r0 in (0..rows).step_by(16) {
            let h = 16.min(rows - r0);
            if w == 16 && h == 16 {
                let mut t = [[0f32; 16]; 16];
                for r in 0..16 {
                    t[r].copy_from_slice(&x[(r0 + r) * cols + c0..][..16]);
                }
                for c in 0..16 {
                    for r in 0..16 {
                        y[c * rows + r0 + r] = t[r][c];
                    }
                }
            } else {
                for c in 0..w {
                    for r in 0..h {
                        y[c * rows + r0 + r] = x[(r0 + r) * cols + c0 + c];
                    }
                }
            }
        }
    });
}
fn main() {
    let shapes = [
        (3152, 1536, 384),
        (80, 384, 2048),
        (80, 2048, 2048),
        (80, 2048, 256),
        (80, 256, 65536),
        (16, 256, 65536),
        (16, 2048, 2048),
        (16, 384, 1536),
        (10, 256, 4096),
        (256, 128, 512),
        (256, 512, 128),
    ];
    for (rows, inp, out) in shapes {
        let x = filled(rows * inp);
        let w = filled(out * inp);
        let dy = filled(rows * out);
        let mut y = filled(rows * out);
        let mut wt = vec![0f32; inp * out];
        let mut wt2 = filled(out * rows);
        let mut dx = filled(rows * inp);
        let fl = 2.0 * (rows * inp * out) as f64;
        let par = gemm::Parallelism::Rayon(0);
        let none = gemm::Parallelism::None;
        let mut best = [f64::INFINITY; 16];
        let mut names = vec![""; 16];
        for _ in 0..40 {
            let mut i = 0;
            macro_rules! t {
                ($n:expr, $e:expr) => {{
                    let s = Instant::now();
                    $e;
                    best[i] = best[i].min(s.elapsed().as_secs_f64());
                    names[i] = $n;
                    i += 1;
                    let _ = i;
                }};
            }
            t!("fwd crate", unsafe {
                g(
                    rows,
                    out,
                    inp,
                    x.as_ptr(),
                    inp as isize,
                    1,
                    w.as_ptr(),
                    1,
                    inp as isize,
                    y.as_mut_ptr(),
                    out as isize,
                    par,
                )
            });
            t!("transpose", transpose(out, inp, &w, &mut wt));
            t!("fwd wt crate", unsafe {
                g(
                    rows,
                    out,
                    inp,
                    x.as_ptr(),
                    inp as isize,
                    1,
                    wt.as_ptr(),
                    out as isize,
                    1,
                    y.as_mut_ptr(),
                    out as isize,
                    par,
                )
            });
            t!("fwd yT", {
                unsafe {
                    g(
                        out,
                        rows,
                        inp,
                        w.as_ptr(),
                        inp as isize,
                        1,
                        x.as_ptr(),
                        1,
                        inp as isize,
                        wt2.as_mut_ptr(),
                        rows as isize,
                        par,
                    )
                };
                transpose(out, rows, &wt2, &mut y)
            });
            t!("fwd yT only", {
                unsafe {
                    g(
                        out,
                        rows,
                        inp,
                        w.as_ptr(),
                        inp as isize,
                        1,
                        x.as_ptr(),
                        1,
                        inp as isize,
                        wt2.as_mut_ptr(),
                        rows as isize,
                        par,
                    )
                }
            });
            t!("dx crate", unsafe {
                g(
                    rows,
                    inp,
                    out,
                    dy.as_ptr(),
                    out as isize,
                    1,
                    w.as_ptr(),
                    inp as isize,
                    1,
                    dx.as_mut_ptr(),
                    inp as isize,
                    par,
                )
            });
        }
        println!("{rows} {inp}->{out}");
        for (n, b) in names.iter().zip(best) {
            if b.is_finite() {
                println!("   {n:16} {:8.3} ms {:7.1}", b * 1e3, fl / b / 1e9);
            }
        }
    }
}
