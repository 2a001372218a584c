//! Votes among neighbours.

use dinoflow::eval::knn::{Labelled, classify};
use safetensors::SafeTensors;

use crate::fixture::{close, json, number, path};

#[test]
fn knn() {
    let fixture = json("knn.json");
    let bytes = std::fs::read(path("knn.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let rows = |of: &str| {
        let features = file.tensor(&format!("{of}_features")).unwrap();
        let numbers = features.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        let labels = file.tensor(&format!("{of}_labels")).unwrap();
        let labels = labels.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32);
        Labelled::normalized(features.shape()[1], numbers.collect(), labels.collect())
    };
    let accuracies = fixture["accuracy_percent"].as_object().unwrap();
    let ks: Vec<usize> = accuracies.keys().map(|k| k.parse().unwrap()).collect();
    let found = classify(&rows("train"), &rows("test"), &ks, number(&fixture["temperature"]));
    for (accuracy, (k, expected)) in found.iter().zip(accuracies) {
        close(&format!("top 1 of {k}"), accuracy.top1, number(&expected["top1"]), 1e-12, 0.0);
        close(&format!("top 5 of {k}"), accuracy.top5, number(&expected["top5"]), 1e-12, 0.0);
    }
}
