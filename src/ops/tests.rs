//! Our operations beside dfdx's own on one tape, and stochastic depth against its definition.

use dfdx::prelude::*;

use super::*;
use crate::graph::spec::Recompute;
use crate::kernels::{Kernels, Products};
use crate::keyed::Key;
use crate::nn::layers::Block;
use crate::nn::parameter::Parameters;
use crate::tensor::{Buffer, Device as _, GradTape};

type Tokens<D = Cpu> = Tensor<(usize, usize, Const<128>), f32, D>;

fn numbers(len: usize, name: &str, scale: f64) -> Vec<f32> {
    let mut draws = Key::new(5).named(name).draws();
    (0..len).map(|_| (scale * draws.normal()) as f32).collect()
}

fn drawn<D: Kernels>(device: &D) -> Block<128, 2, D> {
    let mut block = Block::zeros(device).unwrap();
    let mut list = Vec::new();
    block.list_mut("", &mut list);
    for parameter in list {
        let values = numbers(parameter.tensor.len(), &parameter.name, 0.08);
        device.write(parameter.tensor.view_mut(), &values).unwrap();
    }
    block
}

#[test]
fn stock_operations_and_ours_share_a_tape() {
    let cpu = Cpu::default();
    let w = cpu.tensor_from_vec(numbers(4 * 6, "w", 0.5), (Const::<4>, Const::<6>));
    let b = cpu.tensor_from_vec(numbers(4, "b", 0.5), (Const::<4>,));
    let at = numbers(3 * 6, "x", 1.0);
    // stock square, ours linear + GELU, stock tanh and sum
    let x = cpu.tensor_from_vec(at.clone(), (3usize, Const::<6>));
    let y = linear_gelu(x.clone().put_tape(GradTape::default()).square(), &w, &b, Products::F32).unwrap();
    let (loss, tape) = y.tanh().sum::<Rank0, _>().split_tape();
    let mut gradients = Gradients::leaky();
    Cpu::buffer_mut(gradients.get_or_alloc_mut(&loss).unwrap())[0] = 1.0;
    tape.run(&mut gradients).unwrap();
    let found = Cpu::buffer(gradients.get_or_alloc_mut(&x).unwrap()).to_vec();
    let value = |at: &[f32]| -> f64 {
        let x = cpu.tensor_from_vec(at.to_vec(), (3usize, Const::<6>));
        let y = linear_gelu(x.square(), &w, &b, Products::F32).unwrap().tanh();
        y.as_vec().iter().map(|&v| f64::from(v)).sum()
    };
    for i in 0..at.len() {
        let moved = |by: f32| {
            let mut moved = at.clone();
            moved[i] += by;
            value(&moved)
        };
        let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
        assert!(
            (slope - f64::from(found[i])).abs() < 2e-3,
            "x[{i}]: {} and by differences {slope}",
            found[i]
        );
    }
}

/// The block's output and the gradients of its input and of every weight, where each branch has survivors and the first
/// `queries` tokens ask.
fn through(
    weights: &Block<128, 2, Cpu>,
    x: &Tokens,
    queries: usize,
    survivors: [&Option<Survivors>; 2],
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let survivors = survivors.map(Option::as_ref);
    let (products, recompute) = (Products::F32, Recompute::Nothing);
    passed(weights, x, BlockPass { queries, survivors, products, recompute })
}

fn passed<D: Kernels>(
    weights: &Block<128, 2, D>,
    x: &Tokens<D>,
    pass: BlockPass<'_>,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let (images, device) = (x.shape().0, x.device().clone());
    let y = x.clone().put_tape(GradTape::default());
    let (mut trunk, tape) = Trunk::enter(y);
    trunk.pass(weights, pass).unwrap();
    let (y, tape) = trunk.leave(tape).unwrap().split_tape();
    let mut gradients = Gradients::leaky();
    let seed = numbers(y.shape().num_elements() / images, "seed", 1.0).repeat(images);
    device.write(D::buffer_mut(gradients.get_or_alloc_mut(&y).unwrap()), &seed).unwrap();
    tape.run(&mut gradients).unwrap();
    let mut list = Vec::new();
    weights.list("", &mut list);
    let read = |buffer: &Buffer<D>| device.read(D::buffer(buffer)).unwrap();
    let mut all = vec![read(gradients.get_or_alloc_mut(x).unwrap())];
    all.extend(list.iter().map(|p| read(p.tensor.gradient(&mut gradients).unwrap())));
    (device.read(D::view(&y)).unwrap(), all)
}

fn close(what: &str, a: &[f32], b: &[f32]) {
    let size = b.iter().map(|x| x.abs()).fold(1e-3, f32::max);
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(a.len() == b.len() && off <= 2e-5 * size, "{what}: off by {off} of {size}");
}

fn keeps(images: &[usize], scale: f32) -> Option<Survivors> {
    Some(Survivors { images: images.to_vec(), scale })
}

#[test]
fn a_dropped_image_passes_through_and_teaches_nothing() {
    // all tokens ask, some, CLS alone
    [5, 3, 1].into_iter().for_each(check_dropped);
}

fn check_dropped(queries: usize) {
    let cpu = Cpu::default();
    let block = drawn(&cpu);
    let (tokens, width) = (5, 128);
    let (asked, length) = (queries * width, tokens * width);
    let row = numbers(tokens * width, "image", 1.0);
    let two: Tokens = cpu.tensor_from_vec([row.clone(), row.clone()].concat(), (2usize, tokens, Const));
    let one: Tokens = cpu.tensor_from_vec(row.clone(), (1usize, tokens, Const));
    // the second of two equal images is dropped by both branches: it comes out as it went in, its gradient too, and the
    // weights learn from the first one alone
    let (y, gradients) = through(&block, &two, queries, [&keeps(&[0], 2.0), &keeps(&[0], 1.5)]);
    let (alone, expected) = through(&block, &one, queries, [&keeps(&[0], 2.0), &keeps(&[0], 1.5)]);
    close("the kept image", &y[..asked], &alone);
    close("the dropped image", &y[asked..], &row[..asked]);
    close("the kept image's gradient", &gradients[0][..length], &expected[0]);
    let mut around = numbers(asked, "seed", 1.0);
    around.resize(length, 0.0);
    close("the dropped image's gradient", &gradients[0][length..], &around);
    for (i, (found, expected)) in gradients.iter().zip(&expected).enumerate().skip(1) {
        close(&format!("gradient of weight {i}"), found, expected);
    }
    // a branch is scaled, not what goes around it
    let (plain, _) = through(&block, &one, queries, [&None, &keeps(&[], 3.0)]);
    let (twice, _) = through(&block, &one, queries, [&keeps(&[0], 2.0), &keeps(&[], 3.0)]);
    let by_hand: Vec<f32> = row.iter().zip(&plain).map(|(x, y)| x + 2.0 * (y - x)).collect();
    close("a branch scaled by 2", &twice, &by_hand);
}

#[test]
fn what_is_computed_again_is_bit_for_bit_what_was_kept() {
    check_computed_again(&Cpu::default());
    #[cfg(feature = "cuda")]
    crate::kernels::cuda::probe::device().iter().for_each(check_computed_again);
}

fn check_computed_again<D: Kernels>(device: &D) {
    let (weights, tokens) = (drawn(device), 70);
    let images = numbers(3 * tokens * 128, "images", 1.0);
    let x: Tokens<D> = device.tensor_from_vec(images, (3usize, tokens, Const));
    let (two, one, none) = (keeps(&[0, 2], 1.5), keeps(&[1], 2.0), keeps(&[], 4.0));
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for products in [Products::F32, Products::Bf16] {
        // all tokens ask, CLS alone
        for queries in [tokens, 1] {
            for survivors in [[&None, &None], [&two, &one], [&one, &none], [&none, &two]] {
                let of = |recompute| {
                    let survivors = survivors.map(Option::as_ref);
                    passed(&weights, &x, BlockPass { queries, survivors, products, recompute })
                };
                let (y, gradients) = of(Recompute::Nothing);
                for recompute in [Recompute::Hidden, Recompute::Blocks] {
                    let (again, found) = of(recompute);
                    let what = format!("{recompute:?}, {products:?}, {queries} of {tokens}, {survivors:?}");
                    assert_eq!(bits(&y), bits(&again), "{what}");
                    for (i, (kept, found)) in gradients.iter().zip(&found).enumerate() {
                        assert!(bits(kept) == bits(found), "{what}: gradient {i}");
                    }
                }
            }
        }
    }
}
