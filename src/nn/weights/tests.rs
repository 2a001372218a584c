//! Graphs that start from files.

use std::path::Path;

use dfdx::prelude::Cpu;

use super::*;
use crate::graph::spec::{Backbone, HeadSpec, ResNetSpec, ResNetStem, VitSpec};
use crate::weights::export::{Request, Target, export, safetensors};

fn vit(patch: usize, image: usize, head: HeadSpec) -> NetworkSpec {
    let backbone = Backbone::VitMicro(VitSpec { patch, image, stem: Default::default(), registers: 0 });
    NetworkSpec::new(backbone, head)
}

fn small() -> HeadSpec {
    HeadSpec { hidden: 16, bottleneck: 8, out_dim: 12, ..HeadSpec::default() }
}

fn drawn(spec: &NetworkSpec, seed: u64) -> State {
    let cpu = Cpu::default();
    let network = architectures::build(&cpu, spec, Products::F32, seed).unwrap();
    save(&cpu, network.parameters(), "").unwrap()
}

/// The first weights of a graph whose network starts from a file; the graph's own seed is 1.
fn started(spec: &NetworkSpec, path: &Path) -> Result<State, String> {
    let spec = NetworkSpec { init: Init::Weights(path.to_owned()), ..spec.clone() };
    let network = first(&Cpu::default(), &spec, Products::F32, 1).map_err(|e| e.to_string())?;
    save(&Cpu::default(), network.parameters(), "").map_err(|e| e.to_string())
}

#[test]
fn a_graph_starts_from_any_format() {
    let folder = tempfile::tempdir().unwrap();
    let spec = vit(8, 32, small());
    let (file, ours, seeds) = (folder.path().join("ours.safetensors"), drawn(&spec, 2), drawn(&spec, 1));
    safetensors(&file, &ours).unwrap();
    assert_eq!(started(&spec, &file), Ok(ours.clone()));
    for (target, out) in [(Target::Timm, "timm"), (Target::Hf, "hf"), (Target::Dino, "dino.pth")] {
        let out = folder.path().join(out);
        let request =
            Request { from: file.clone(), which: Which::Teacher, target, out: out.clone(), size: None };
        export(&request).unwrap();
        let found = started(&spec, &out).unwrap();
        for (key, tensor) in &found {
            // what a backbone's file does not have stays as the seed drew it
            let expected = if key.starts_with("head.") { &seeds[key] } else { &ours[key] };
            assert!(tensor == expected, "{target:?}: {key}");
        }
        let named = NetworkSpec { init: Init::Weights(out), ..spec.clone() };
        let text = introduce(&named).unwrap().unwrap();
        assert!(text.contains("vit_micro/8") && text.contains("drawn from the graph's seed"), "{text}");
    }
    assert_eq!(introduce(&spec).unwrap(), None);
}

#[test]
fn a_file_of_another_size_is_laid_out_anew_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ours.safetensors");
    safetensors(&file, &drawn(&vit(8, 32, small()), 2)).unwrap();
    let larger = vit(8, 48, small());
    let found = started(&larger, &file).unwrap();
    assert!(
        matches!(&found["backbone.pos_embed"], SavedTensor::F32 { dims, .. } if dims[..] == [1, 37, 128])
    );
    let text = introduce(&NetworkSpec { init: Init::Weights(file), ..larger }).unwrap().unwrap();
    assert!(text.contains("interpolated from pictures of 32 pixels to 48"), "{text}");
}

#[test]
fn a_file_of_another_network_is_refused_by_key_and_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ours.safetensors");
    safetensors(&file, &drawn(&vit(8, 32, small()), 2)).unwrap();
    let wider = HeadSpec { out_dim: 24, ..small() };
    let deeper = HeadSpec { layers: 2, ..small() };
    let resnet = NetworkSpec {
        backbone: Backbone::ResNet18(ResNetSpec { stem: ResNetStem::Small }),
        ..vit(8, 32, small())
    };
    for (spec, words) in [
        (
            vit(8, 32, wider),
            "head.last_layer.weight_g is [12, 1] in the file and [24, 1] in the graph's network",
        ),
        (
            vit(4, 32, small()),
            "proj.weight is [128, 3, 8, 8] in the file and [128, 3, 4, 4] in the graph's network",
        ),
        (vit(8, 32, deeper), "head.mlp.2.weight is [16, 16] in the file and [8, 16]"),
        (resnet, "the file is of vit_micro/8, the graph's network is resnet18"),
    ] {
        let error = started(&spec, &file).unwrap_err();
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
    assert!(started(&vit(8, 32, small()), Path::new("nowhere.pth")).unwrap_err().contains("nowhere.pth"));
}

#[test]
fn a_full_card_is_told_with_what_takes_less() {
    let full = failed("Driver(DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\"))").to_string();
    assert!(full.contains("its memory is full") && full.contains("network.recompute=Blocks"), "{full}");
    assert_eq!(failed("lost").to_string(), "the device failed: lost");
}
