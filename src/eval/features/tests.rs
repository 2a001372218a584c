use dfdx::prelude::Cpu;

use super::*;
use crate::data::source::{Synthetic, SyntheticParams};
use crate::eval::extractor::{Extractor, Placed};
use crate::graph::spec::{Backbone, HeadSpec, NetworkSpec, Stem, VitSpec};
use crate::kernels::Products;
use crate::nn::architectures::build;
use crate::nn::network::Lent;

fn network<D: Kernels>(device: &D) -> Lent<D> {
    let vit = VitSpec { patch: 8, image: 16, stem: Stem::Patch, registers: 1 };
    let head = HeadSpec { layers: 1, bottleneck: 1, prototypes: false, ..HeadSpec::default() };
    let spec = NetworkSpec::new(Backbone::VitMicro(vit), head);
    build(device, &spec, Products::F32, 3).unwrap()
}

fn images() -> Synthetic {
    Synthetic::open(&SyntheticParams { count: 5, size: 20, classes: 2, ..SyntheticParams::default() })
        .unwrap()
}

fn rows(batch: usize, wanted: Wanted) -> Vec<f32> {
    rows_on(&Cpu::default(), batch, wanted)
}

/// On whatever device, which the host does not see.
fn rows_on<D: Kernels>(device: &D, batch: usize, wanted: Wanted) -> Vec<f32> {
    let placed = Placed { device: device.clone(), network: network(device), averages: Averages::default() };
    let placed: Box<dyn Extractor> = Box::new(placed);
    let view = View::plain(None, 16);
    let mut rows = Vec::new();
    let unreadable = each_batch(&images(), &[4, 0, 2], view, batch, |shown| {
        rows.extend(wanted.rows(&placed.answer(shown.pixels, (16, 16), wanted.asked())?, 128));
        Ok::<_, StageError>(())
    });
    assert_eq!(unreadable.unwrap(), []);
    rows
}

#[test]
fn features_stand_side_by_side_and_the_batch_changes_nothing() {
    let check = |last_blocks, average_patches| {
        let wanted = Wanted { last_blocks, average_patches };
        let (all, apart) = (rows(3, wanted), rows(2, wanted));
        let width = wanted.width(128);
        assert_eq!(all.len(), 3 * width);
        let far = all.iter().zip(&apart).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-6, "{wanted:?}: {far}");
        // CLS of the last layer is the last of the blocks
        let cls = rows(3, Wanted::CLS);
        for (row, cls) in all.chunks(width).zip(cls.chunks(128)) {
            let last = &row[(last_blocks - 1) * 128..last_blocks * 128];
            let far = last.iter().zip(cls).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far < 1e-5, "{wanted:?}: {far}");
        }
    };
    for last_blocks in [1, 2, 4] {
        check(last_blocks, false);
        check(last_blocks, true);
    }
}

#[test]
fn blocks_are_what_a_shallower_network_would_say() {
    // the norm of each block's CLS has mean 0 and deviation 1 with fresh gains; different blocks differ
    let all = rows(3, Wanted { last_blocks: 4, average_patches: false });
    for block in all.chunks(128) {
        let mean: f32 = block.iter().sum::<f32>() / 128.0;
        let variance = block.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 128.0;
        assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
    for row in all.chunks(4 * 128) {
        let blocks: Vec<_> = row.chunks(128).collect();
        assert!(blocks.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

#[cfg(feature = "cuda")]
#[test]
fn a_gpu_makes_the_same_features() {
    let Some(gpu) = crate::kernels::cuda::probe::device() else { return };
    for (last_blocks, average_patches) in [(1, false), (4, true)] {
        let wanted = Wanted { last_blocks, average_patches };
        let (found, expected) = (rows_on(&gpu, 2, wanted), rows(2, wanted));
        let far = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(found.len() == expected.len() && far < 1e-4, "{wanted:?}: {far}");
    }
}

#[test]
fn averages_are_of_patches_alone() {
    // (2, 1 + 2, 2): CLS does not count
    let numbers = vec![9.0, 9.0, 1.0, 2.0, 3.0, 6.0, 7.0, 7.0, 0.0, 1.0, 0.0, 3.0];
    assert_eq!(mean_of_patches(&Tokens { numbers, count: 3, width: 2 }), [2.0, 4.0, 0.0, 2.0]);
}
