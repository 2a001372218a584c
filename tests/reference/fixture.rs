//! Where the fixtures lie, the formula behind their weights and inputs, and how numbers are held against them.

use std::path::PathBuf;

use dinoflow::nn::network::Network;
use dinoflow::tensor::Device;
use serde_json::Value;

/// A file of the fixtures.
pub fn path(name: &str) -> PathBuf {
    let folder = std::env::var_os("DINOFLOW_FIXTURES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"), PathBuf::from);
    folder.join(name)
}

/// A fixture that is JSON.
pub fn json(name: &str) -> Value {
    let path = path(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

pub fn count(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("not a count: {value}")) as usize
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}")).iter().map(number).collect()
}

/// Value i of the tensor `name`: SplitMix64 of FNV-1a of the name, in [-1, 1).
pub fn formula(name: &str, len: usize) -> Vec<f64> {
    let fold = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
    let draw = |i: u64| {
        let mut z = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(hash);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f64 / f64::from(1u32 << 23) - 1.0
    };
    (0..len as u64).map(draw).collect()
}

/// An input, which is the formula itself.
pub fn input(name: &str, len: usize) -> Vec<f32> {
    formula(name, len).into_iter().map(|u| u as f32).collect()
}

/// A weight, which is the formula scaled by what the tensor is.
pub fn weight(name: &str, dims: &[usize]) -> Vec<f32> {
    let len: usize = dims.iter().product();
    let token = name.ends_with("cls_token") || name.ends_with("pos_embed");
    let scaled = |u: f64| match () {
        () if name.ends_with("weight_g") => 1.0,
        () if dims.len() >= 2 && !token => u * (3.0 / dims[1..].iter().product::<usize>() as f64).sqrt(),
        () if name.ends_with("weight") => 1.0 + 0.1 * u,
        () => 0.02 * u,
    };
    formula(name, len).into_iter().map(|u| scaled(u) as f32).collect()
}

/// Gives every parameter of a network its formula.
pub fn fill<D: Device>(device: &D, network: &mut dyn Network<D>) {
    for parameter in network.parameters_mut() {
        let values = weight(&parameter.name, &parameter.dims);
        device.write(parameter.tensor.view_mut(), &values).unwrap();
    }
}

/// |found - expected| ≤ tolerance × |expected| (+ `floor` for what is zero in exact arithmetic).
#[track_caller]
pub fn close(what: &str, found: f64, expected: f64, tolerance: f64, floor: f64) {
    let off = (found - expected).abs();
    assert!(
        off <= tolerance * expected.abs() + floor,
        "{what}: {found:e}, expected {expected:e}: off by {:.2e} relative, allowed {tolerance:e}",
        off / expected.abs()
    );
}

/// Holds numbers against a summary: count, length, first and last. `scale` gives the size against which single numbers are
/// held: their root mean square.
#[track_caller]
pub fn summary(what: &str, found: &[f32], expected: &Value, tolerance: f64) {
    assert_eq!(found.len(), count(&expected["n"]), "{what}: count");
    let l2 = found.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    close(&format!("{what}: l2"), l2, number(&expected["l2"]), tolerance, 0.0);
    let rms = number(&expected["l2"]) / (found.len() as f64).sqrt();
    for (i, &value) in numbers(&expected["first"]).iter().enumerate() {
        close(&format!("{what}[{i}]"), f64::from(found[i]), value, tolerance, 20.0 * tolerance * rms);
    }
    for (i, &value) in numbers(&expected["last"]).iter().rev().enumerate() {
        let at = found.len() - 1 - i;
        close(&format!("{what}[{at}]"), f64::from(found[at]), value, tolerance, 20.0 * tolerance * rms);
    }
}
