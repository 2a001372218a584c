use super::*;
use crate::kernels::cuda::probe;
use crate::kernels::probe::values;

/// What one product is made of.
#[derive(Clone, Copy, Debug)]
struct Case {
    products: Products,
    out: Kind,
    shape: (usize, usize, usize),
    transposed: [bool; 2],
    /// Numbers between the rows of a, b and the target.
    gaps: [usize; 3],
    /// Numbers before the first of a, b and the target.
    start: usize,
    bias: bool,
    scale: f32,
    plus: u8,
    /// Factors that are still f32.
    wide: bool,
}

const SIMPLE: Case = Case {
    products: Products::F32,
    out: Kind::F32,
    shape: (5, 7, 3),
    transposed: [false; 2],
    gaps: [0; 3],
    start: 0,
    bias: false,
    scale: 1.0,
    plus: 0,
    wide: false,
};

/// A matrix as it is stored, `start` numbers before it and gaps between its rows, both NaN, and its numbers.
fn spread(name: &str, (rows, cols): (usize, usize), gap: usize, start: usize) -> (Vec<f32>, usize) {
    let mut stored = vec![f32::NAN; start + rows * (cols + gap)];
    for (row, values) in values(name, rows * cols).chunks(cols.max(1)).enumerate() {
        stored[start + row * (cols + gap)..][..cols].copy_from_slice(values);
    }
    (stored, cols + gap)
}

fn wanted(case: Case, a: &[f64], b: &[f64], bias: &[f32], before: &[f64]) -> Vec<f32> {
    let (rows, cols, depth) = case.shape;
    let one = |at: usize| {
        let (row, col) = (at / cols, at % cols);
        let sum: f64 = (0..depth).map(|k| a[row * depth + k] * b[k * cols + col]).sum();
        let bias = if case.bias { f64::from(bias[col]) } else { 0.0 };
        (f64::from(case.scale) * sum + bias + if case.plus > 0 { before[at] } else { 0.0 }) as f32
    };
    (0..rows * cols).map(one).collect()
}

/// The numbers of a stored matrix in f64, row by row.
fn matrix(
    stored: &[f32],
    (rows, cols): (usize, usize),
    width: usize,
    start: usize,
    transposed: bool,
) -> Vec<f64> {
    let at = |row: usize, col: usize| match transposed {
        false => f64::from(stored[start + row * width + col]),
        true => f64::from(stored[start + col * width + row]),
    };
    (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))).map(|(row, col)| at(row, col)).collect()
}

fn check(gpu: &Gpu, case: Case, slowly: bool) {
    let Case { products, out, shape: (rows, cols, depth), transposed, gaps, start, .. } = case;
    let turned = |(r, c): (usize, usize), turn: bool| if turn { (c, r) } else { (r, c) };
    let round = |x: Vec<f32>| probe::representable(products, &x);
    let (a, a_width) = spread("a", turned((rows, depth), transposed[0]), gaps[0], start);
    let (b, b_width) = spread("b", turned((depth, cols), transposed[1]), gaps[1], start);
    let (a_round, b_round) = (round(a.clone()), round(b.clone()));
    let a_matrix = matrix(&a_round, (rows, depth), a_width, start, transposed[0]);
    let b_matrix = matrix(&b_round, (depth, cols), b_width, start, transposed[1]);
    let bias = values("bias", cols);
    let of_out = match out {
        Kind::F32 => Products::F32,
        Kind::Bf16 => Products::Bf16,
        Kind::F16 => Products::F16,
    };
    let (c, width) = spread("c", (rows, cols), gaps[2], start);
    let c = probe::representable(of_out, &c);
    let want = wanted(case, &a_matrix, &b_matrix, &bias, &matrix(&c, (rows, cols), width, start, false));

    let lend = |x: &[f32]| if case.wide { probe::lent(gpu, x) } else { probe::stored(gpu, products, x) };
    let (a, b, bias, other) = (lend(&a), lend(&b), probe::lent(gpu, &bias), probe::lent(gpu, &c));
    let own = if case.plus == 1 { c } else { vec![f32::NAN; c.len()] };
    let y = probe::stored(gpu, of_out, &own);
    let plus = match case.plus {
        0 => Plus::Nothing,
        1 => Plus::Itself,
        _ => Plus::Other(other.view().slice(start..other.len())),
    };
    let kind = y.kind();
    let (at, len) = (y.any().slice(start..y.len()).pointer(), y.len() - start);
    // SAFETY: a stretch of `y`, which nobody else looks at until `taken`
    let target = unsafe { AnyMut::new(kind, at, len) };
    let target =
        Target::new(target, width).scaled(case.scale).biased(case.bias.then(|| bias.view())).plus(plus);
    let (a, b) = (
        Factor { data: a.any().slice(start..a.len()), width: a_width, transposed: transposed[0] },
        Factor { data: b.any().slice(start..b.len()), width: b_width, transposed: transposed[1] },
    );
    match slowly {
        true => plain(gpu, case.shape, a, b, target).unwrap(),
        false => product(gpu, products, case.shape, a, b, target).unwrap(),
    }
    let found = probe::taken(gpu, &y);
    let rows_of = |x: &[f32]| -> Vec<f32> {
        x[start..].chunks(width.max(1)).flat_map(|row| &row[..cols]).copied().collect()
    };
    let tolerance = probe::tolerance(of_out, 5e-6);
    probe::near(&format!("{case:?}"), tolerance, &rows_of(&found), &want);
    let mut between = found[start..].chunks(width.max(1)).flat_map(|row| &row[cols..]).chain(&found[..start]);
    assert!(between.all(|x| x.is_nan()), "what is between the rows of {case:?}");
}

const SHAPES: [(usize, usize, usize); 7] =
    [(1, 1, 1), (5, 7, 3), (1, 65, 9), (67, 1, 31), (33, 129, 64), (128, 64, 257), (130, 24, 8)];

#[test]
fn products_are_the_sums_that_they_should_be() {
    let Some(gpu) = probe::gpu() else { return };
    for products in probe::ALL {
        for shape in SHAPES {
            for transposed in [[false, false], [false, true], [true, false], [true, true]] {
                for (bias, scale, plus) in
                    [(false, 1.0, 0), (true, 1.0, 0), (true, 0.75, 2), (false, 1.0, 1), (true, -2.0, 1)]
                {
                    let case = Case { products, shape, transposed, bias, scale, plus, ..SIMPLE };
                    check(gpu, case, false);
                    check(gpu, Case { gaps: [3, 1, 5], start: 1, wide: true, ..case }, false);
                    if plus < 2 {
                        check(gpu, Case { out: Kind::of(products), gaps: [8, 8, 8], ..case }, false);
                    }
                }
            }
        }
    }
}

#[test]
fn the_slow_way_makes_the_same() {
    let Some(gpu) = probe::gpu() else { return };
    for products in probe::ALL {
        for transposed in [[false, false], [false, true], [true, false], [true, true]] {
            for (out, bias, scale, plus) in [
                (Kind::F32, true, 0.75, 2),
                (Kind::F32, false, 1.0, 0),
                (Kind::of(products), true, 1.0, 1),
                (Kind::of(products), true, 0.5, 0),
            ] {
                let case = Case {
                    products,
                    out,
                    transposed,
                    bias,
                    scale,
                    plus,
                    gaps: [3, 1, 5],
                    start: 1,
                    ..SIMPLE
                };
                check(gpu, case, true);
                check(gpu, Case { shape: (33, 17, 20), gaps: [0; 3], ..case }, true);
            }
        }
    }
}

#[test]
fn a_product_goes_into_other_precisions_and_empty_sums_are_zeros() {
    let Some(gpu) = probe::gpu() else { return };
    for products in probe::ALL {
        for out in [Kind::F32, Kind::Bf16, Kind::F16] {
            for bias in [false, true] {
                let case = Case { products, out, bias, shape: (9, 6, 5), scale: 1.5, ..SIMPLE };
                check(gpu, case, false);
                check(gpu, Case { shape: (9, 6, 0), ..case }, false);
            }
        }
        for (bias, plus) in [(false, 0), (false, 1), (true, 1), (true, 2)] {
            check(gpu, Case { products, bias, plus, shape: (9, 6, 0), gaps: [0, 0, 2], ..SIMPLE }, false);
        }
        check(gpu, Case { products, shape: (0, 6, 3), ..SIMPLE }, false);
        check(gpu, Case { products, shape: (3, 0, 6), ..SIMPLE }, false);
    }
}

#[test]
fn matrices_that_are_too_small_are_refused() {
    let Some(gpu) = probe::gpu() else { return };
    let refused = |a: usize, b: usize, out: usize, width: usize| {
        let (a, b, mut y) = (
            probe::lent(gpu, &vec![1.0; a]),
            probe::lent(gpu, &vec![1.0; b]),
            probe::lent(gpu, &vec![1.0; out]),
        );
        let work = std::panic::AssertUnwindSafe(|| {
            product(
                gpu,
                Products::F32,
                (3, 4, 5),
                Factor::rows(a.view(), 5),
                Factor::rows(b.view(), 4),
                Target::new(y.view_mut(), width),
            )
        });
        std::panic::catch_unwind(work).is_err()
    };
    assert!(!refused(15, 20, 12, 4));
    assert!(
        refused(14, 20, 12, 4) && refused(15, 19, 12, 4) && refused(15, 20, 11, 4) && refused(15, 20, 12, 3)
    );
}
