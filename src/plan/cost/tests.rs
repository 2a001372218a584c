use super::*;
use crate::graph::spec::Init;

fn vit(patch: usize) -> VitSpec {
    VitSpec { patch, image: 224, stem: Stem::Patch, registers: 0 }
}

fn small() -> NetworkSpec {
    NetworkSpec {
        backbone: Backbone::VitSmall(vit(16)),
        head: HeadSpec::default(),
        drop_path: 0.1,
        init: Init::Seed,
    }
}

#[test]
fn parameters_are_the_published_counts() {
    for (backbone, published) in [
        (Backbone::VitTiny(vit(16)), 5_524_416),
        (Backbone::VitSmall(vit(16)), 21_665_664),
        (Backbone::VitSmall(vit(8)), 21_670_272),
        (Backbone::VitBase(vit(16)), 85_798_656),
        (Backbone::VitBase(vit(8)), 85_807_872),
    ] {
        assert_eq!(backbone_parameters(&backbone), published, "{}", backbone.name());
    }
    assert_eq!(parameters(&small()), 44_017_792);
}

#[test]
fn an_image_of_the_papers_recipe_is_113_4_gflop_less_what_is_spared() {
    let image = |of: &dyn Fn(usize) -> CropFlops| {
        let (global, local) = (of(224), of(96));
        let image = 2.0 * global.trained() + 8.0 * local.trained() + 2.0 * global.forward();
        (image / 1e8).round()
    };
    let (dropping, network) = (small(), NetworkSpec { drop_path: 0.0, ..small() });
    // every block for every token
    let whole = |side| {
        let tokens = tokens(&vit(16), side);
        let blocks = 12.0 * block_flops(384.0, tokens, tokens);
        CropFlops { blocks, kept: blocks, ..crop_flops(&network, side) }
    };
    assert_eq!(image(&whole), 1134.0);
    assert_eq!(image(&|side| crop_flops(&network, side)), 1057.0);
    assert_eq!(image(&|side| crop_flops(&dropping, side)), 1017.0);
}

#[test]
fn the_expected_share_of_the_blocks_stays() {
    for (drop_path, share) in [(0.0, 1.0), (0.1, 0.95), (0.4, 0.8)] {
        let crop = crop_flops(&NetworkSpec { drop_path, ..small() }, 224);
        // as if the last block, which is dropped most often, were as large as the others
        let spared = block_flops(384.0, 197.0, 197.0) - block_flops(384.0, 197.0, 1.0);
        let found = (crop.kept + (1.0 - drop_path) * spared) / (crop.blocks + spared);
        assert!((found - share).abs() < 1e-12, "{drop_path}: {found}");
    }
}

#[test]
fn an_image_keeps_two_widths_and_eight_of_the_products_precision_a_token_and_block_but_for_the_last() {
    let network = NetworkSpec { head: HeadSpec { out_dim: 1, ..HeadSpec::default() }, ..small() };
    for (products, bytes, last) in [(Products::F32, 40.0, 12.0), (Products::Bf16, 24.0, 8.0)] {
        let crop = |side| crop_kept(&network, products, side);
        let image = 2.0 * crop(224) + 8.0 * crop(96);
        // 690 tokens, 11 blocks and the last one's input, keys and values, width 384; the rest are softmax sums and the head's
        // hidden layers
        let tokens = 690.0 * 384.0 * (11.0 * bytes + last);
        assert!(image > tokens && image < 1.015 * tokens, "{image}");
    }
}
