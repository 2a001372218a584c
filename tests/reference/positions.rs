//! Position embeddings resampled between grids.

use dinoflow::kernels::cpu::position::interpolate;

use crate::fixture::{self, close, count, json, numbers};

#[test]
fn position_embeddings() {
    for case in json("position_embeddings.json").as_array().unwrap() {
        let (grid, dim) = (count(&case["grid"]), count(&case["dim"]));
        let (to_h, to_w) = (count(&case["to"][0]), count(&case["to"][1]));
        let name = case["source"].as_str().unwrap();
        let source = fixture::input(name, (1 + grid * grid) * dim);
        let mut out = vec![f32::NAN; (1 + to_h * to_w) * dim];
        interpolate(grid, grid, to_h, to_w, dim, &source, &mut out);
        let expected = numbers(&case["out"]);
        assert_eq!(out.len(), expected.len(), "{name} to {to_h} x {to_w}");
        for (i, (&found, &expected)) in out.iter().zip(&expected).enumerate() {
            close(&format!("{name} to {to_h} x {to_w}: [{i}]"), f64::from(found), expected, 1e-5, 1e-6);
        }
    }
}
