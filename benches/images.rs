//! The way of a picture on one thread, from a file's bytes to planes of f32: `cargo bench --bench images [FILTER]`.
//! Elements are pixels in `decode` and `augment`, pictures in `pictures`.

mod common {
    pub mod measure;
}

use common::measure::{self, elements};
use criterion::{BatchSize, BenchmarkId, Criterion};
use dinoflow::data::augment::{
    Color, Crops, IMAGENET_DEVIATION, IMAGENET_MEAN, MultiCropSpec, Scratch, adjust, eval_view,
    gaussian_blur, horizontal_flip, multi_crop, normalize_into, resized_crop, solarize,
};
use dinoflow::data::{DecodeOptions, Rgb8, decode};
use dinoflow::keyed::Key;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

/// Height and width of ImageNet's most frequent photograph.
const SIZE: (usize, usize) = (375, 500);
/// Pictures whose crops are drawn in one run: a crop costs what was drawn for it.
const DRAWS: u64 = 16;

/// Soft shapes under sensor noise: as a JPEG it takes about the bytes of a photograph.
fn photograph() -> Rgb8 {
    let mut noise = Key::new(1).named("photograph").draws();
    Rgb8::from_fn(SIZE.0, SIZE.1, |y, x| {
        let wave = |period: f64, phase: f64| 50.0 * ((y + 2 * x) as f64 / period + phase).sin();
        let shade = 120.0 + wave(90.0, 0.0) + if (y / 40 + x / 60) % 2 == 0 { 20.0 } else { -20.0 };
        let grain = noise.uniform(-12.0, 12.0);
        [0.0, 1.0, 2.0].map(|channel| (shade + wave(140.0, channel) + grain) as u8)
    })
}

/// As cameras and ImageNet store it: color at half the resolution.
fn jpeg(image: &Rgb8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 90);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    let written = encoder.encode(&image.pixels, image.width as u16, image.height as u16, ColorType::Rgb);
    written.expect("a picture in memory is encoded to memory");
    bytes
}

fn decoded(bytes: &[u8]) -> Rgb8 {
    decode(bytes, &DecodeOptions::default()).expect("the picture was encoded here")
}

/// All planes of a picture's crops, as collating writes them.
fn normalize(crops: &Crops, planes: &mut [f32]) {
    let mut rest = planes;
    for crop in crops.global.iter().chain(&crops.local) {
        let (here, next) = rest.split_at_mut(crop.pixels.len());
        normalize_into(crop, IMAGENET_MEAN, IMAGENET_DEVIATION, here);
        rest = next;
    }
}

/// Every operation alone, on a global crop.
fn operations(c: &mut Criterion, image: &Rgb8) {
    let mut group = measure::group(c, "augment");
    let scratch = &mut Scratch::default();
    let crop = resized_crop(image, (20, 40), (300, 320), 224, scratch);
    group.throughput(elements(crop.height * crop.width));
    let jitter = [Color::Brightness(1.2), Color::Contrast(0.8), Color::Saturation(1.1), Color::Hue(0.05)];
    let colors = [
        ("brightness", &jitter[0..1]),
        ("contrast", &jitter[1..2]),
        ("saturation", &jitter[2..3]),
        ("hue", &jitter[3..4]),
        ("grey", &[Color::Grayscale]),
        ("jitter", &jitter),
    ];
    for (name, colors) in colors {
        group.bench_function(name, |b| {
            b.iter_batched_ref(|| crop.clone(), |crop| adjust(crop, colors), BatchSize::SmallInput)
        });
    }
    for radius in [0.5, 2.0] {
        group.bench_function(BenchmarkId::new("blur", radius), |b| {
            b.iter_batched_ref(
                || crop.clone(),
                |crop| gaussian_blur(crop, radius, scratch),
                BatchSize::SmallInput,
            )
        });
    }
    let in_place: [(&str, fn(&mut Rgb8)); 2] =
        [("flip", horizontal_flip), ("solarize", |crop| solarize(crop, 128))];
    for (name, operation) in in_place {
        group.bench_function(name, |b| b.iter_batched_ref(|| crop.clone(), operation, BatchSize::SmallInput));
    }
    let mut planes = vec![0.0; crop.pixels.len()];
    group.bench_function("normalise", |b| {
        b.iter(|| normalize_into(&crop, IMAGENET_MEAN, IMAGENET_DEVIATION, &mut planes))
    });
    group.finish();
}

/// Cutting and resizing; elements are the pixels that come out.
fn resizing(c: &mut Criterion, image: &Rgb8) {
    let mut group = measure::group(c, "resize");
    let scratch = &mut Scratch::default();
    for (part, size) in [((360, 360), 224), ((260, 260), 224), ((200, 200), 96), ((100, 100), 96)] {
        let id = BenchmarkId::from_parameter(format!("{} to {size}", part.0));
        group
            .throughput(elements(size * size))
            .bench_function(id, |b| b.iter(|| resized_crop(image, (5, 50), part, size, scratch)));
    }
    group
        .throughput(elements(224 * 224))
        .bench_function("view for evaluation", |b| b.iter(|| eval_view(image, 256, 224, scratch)));
    group.finish();
}

/// A whole picture's ten crops, without and with what comes before and after; elements are pictures.
fn pictures(c: &mut Criterion, bytes: &[u8], image: &Rgb8) {
    let mut group = measure::group(c, "pictures");
    group.throughput(elements(DRAWS as usize));
    let (spec, scratch) = (MultiCropSpec::default(), &mut Scratch::default());
    let keys = || (0..DRAWS).map(|i| Key::new(0).with(i));
    let values = 3 * (2 * spec.global_size.pow(2) + spec.local_crops * spec.local_size.pow(2));
    let mut planes = vec![0.0; values];
    group.bench_function("ten crops", |b| {
        b.iter(|| keys().map(|key| multi_crop(image, &spec, key, scratch).local.len()).sum::<usize>())
    });
    group.bench_function("decode, ten crops and normalise", |b| {
        b.iter(|| {
            for key in keys() {
                normalize(&multi_crop(&decoded(bytes), &spec, key, scratch), &mut planes);
            }
        })
    });
    group.finish();
}

fn main() {
    let mut c = measure::criterion();
    let bytes = jpeg(&photograph());
    let image = decoded(&bytes);
    eprintln!("a picture of {} x {} pixels, {} kB as a JPEG", SIZE.0, SIZE.1, bytes.len() / 1000);
    let mut group = measure::group(&mut c, "decode");
    group.throughput(elements(SIZE.0 * SIZE.1)).bench_function("jpeg", |b| b.iter(|| decoded(&bytes)));
    group.finish();
    resizing(&mut c, &image);
    operations(&mut c, &image);
    pictures(&mut c, &bytes, &image);
    c.final_summary();
}
