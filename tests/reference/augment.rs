//! The operations against what Pillow and torchvision made of the same pictures.

use dinoflow::data::augment::*;
use dinoflow::data::{DecodeOptions, Rgb8, decode};
use serde::Deserialize;

use crate::fixture;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    input: String,
    output: String,
    op: String,
    on: Option<String>,
    #[serde(default)]
    order: Vec<String>,
    #[serde(flatten)]
    parameters: serde_json::Map<String, serde_json::Value>,
}

impl Case {
    fn number(&self, name: &str) -> f64 {
        self.parameters[name].as_f64().unwrap()
    }

    fn color(&self, op: &str, parameter: &str) -> Color {
        match op {
            "brightness" => Color::Brightness(self.number(parameter)),
            "contrast" => Color::Contrast(self.number(parameter)),
            "saturation" => Color::Saturation(self.number(parameter)),
            "hue" => Color::Hue(self.number(parameter)),
            _ => Color::Grayscale,
        }
    }

    fn run(&self, image: &Rgb8) -> Rgb8 {
        let mut scratch = Scratch::default();
        let mut image = image.clone();
        let n = |name| self.number(name) as usize;
        match self.op.as_str() {
            "resized_crop" => {
                let (corner, part) = ((n("top"), n("left")), (n("height"), n("width")));
                image = resized_crop(&image, corner, part, n("size"), &mut scratch);
            }
            "horizontal_flip" => horizontal_flip(&mut image),
            "solarize" => solarize(&mut image, n("threshold") as u8),
            "gaussian_blur" => gaussian_blur(&mut image, self.number("radius"), &mut scratch),
            "jitter" => {
                let order: Vec<Color> = self.order.iter().map(|op| self.color(op, op)).collect();
                adjust(&mut image, &order);
            }
            op @ ("brightness" | "contrast" | "saturation" | "hue" | "grayscale") => {
                adjust(&mut image, &[self.color(op, "factor")]);
            }
            op => panic!("no operation {op}"),
        }
        image
    }
}

fn load(name: &str) -> Rgb8 {
    decode(&std::fs::read(fixture::path("augment").join(name)).unwrap(), &DecodeOptions::default()).unwrap()
}

#[test]
fn every_operation_agrees_with_pillow() {
    let text = std::fs::read_to_string(fixture::path("augment").join("cases.json")).unwrap();
    let Cases { cases } = serde_json::from_str(&text).unwrap();
    assert!(!cases.is_empty());
    for case in &cases {
        let index = case.input.trim_start_matches("input").trim_end_matches(".png");
        let input = match &case.on {
            Some(on) => load(&format!("{index}_{on}.png")),
            None => load(&case.input),
        };
        let (got, expected) = (case.run(&input), load(&case.output));
        assert_eq!((got.height, got.width), (expected.height, expected.width), "{}", case.output);
        let apart = got.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b));
        let (sum, most) = apart.fold((0u64, 0), |(s, m), d| (s + u64::from(d), m.max(d)));
        let mean = sum as f64 / got.pixels.len() as f64;
        println!("{:28} mean {mean:.5} most {most}", case.output);
        let tolerance = if case.op == "gaussian_blur" { 1.5 } else { 1.0 };
        assert!(mean <= tolerance, "{}: {mean} levels apart on average", case.output);
    }
}
