use super::*;
use crate::graph::spec::Recompute;

fn vit(patch: usize) -> VitSpec {
    VitSpec { patch, image: 224, stem: Stem::Patch, registers: 0 }
}

fn small() -> NetworkSpec {
    NetworkSpec { drop_path: 0.1, ..NetworkSpec::new(Backbone::VitSmall(vit(16)), HeadSpec::default()) }
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
        let image = widest(&[(2.0, crop(224)), (8.0, crop(96))]);
        // 690 tokens, 11 blocks and the last one's input, keys and values, width 384; the rest are softmax sums and the head's
        // hidden layers
        let tokens = 690.0 * 384.0 * (11.0 * bytes + last);
        assert!(image > tokens && image < 1.015 * tokens, "{image}");
    }
}

fn again(recompute: Recompute) -> NetworkSpec {
    let head = HeadSpec { out_dim: 1, ..HeadSpec::default() };
    NetworkSpec { head, drop_path: 0.0, recompute, ..small() }
}

#[test]
fn the_hidden_layer_again_is_a_third_of_the_blocks_work_and_whole_blocks_are_but_their_last_layer() {
    for (recompute, share) in [(Recompute::Nothing, 0.0), (Recompute::Hidden, 8.0), (Recompute::Blocks, 16.0)]
    {
        let [kept, crop] = [Recompute::Nothing, recompute].map(|level| crop_flops(&again(level), 224));
        assert_eq!(crop.forward(), kept.forward());
        let more = crop.trained() - kept.trained();
        // 24 width² a token and block in all, and attention's products; the last block has little more than keys and values
        let attention = if recompute == Recompute::Blocks { 4.0 * 197.0 / 384.0 } else { 0.0 };
        let (expected, last) =
            (11.0 * (share + attention) * 384.0 * 384.0 * 197.0, 4.1 * 384.0 * 384.0 * 197.0);
        assert!(more >= expected && more <= expected + last, "{recompute:?}: {more}, {expected}");
    }
}

#[test]
fn what_is_computed_again_is_kept_of_one_block_at_a_time() {
    // bytes a token and width: of 11 blocks, of the last one, and of the one that is computed again
    for (recompute, products, block, last, one) in [
        (Recompute::Hidden, Products::F32, 24.0, 12.0, 40.0),
        (Recompute::Hidden, Products::Bf16, 16.0, 8.0, 22.0),
        (Recompute::Blocks, Products::F32, 4.0, 4.0, 60.0),
        (Recompute::Blocks, Products::Bf16, 4.0, 4.0, 34.0),
    ] {
        let crop = crop_kept(&again(recompute), products, 224);
        let tokens = 197.0 * 384.0;
        let near =
            |found: f64, expected: f64| assert!(found >= expected && found < 1.01 * expected, "{crop:?}");
        near(crop.backbone, tokens * (11.0 * block + last));
        near(crop.again, tokens * one);
        // the crops that come last go back while all others wait, those that came first after the last ones are done
        let (kept, one) = (crop.backbone, crop.again);
        assert_eq!(widest(&[(2.0, crop), (200.0, crop)]), 202.0 * kept + 200.0 * one);
        assert_eq!(
            widest(&[(200.0, crop), (2.0, crop)]),
            f64::max(200.0 * (kept + one), 202.0 * kept + 2.0 * one)
        );
    }
}
