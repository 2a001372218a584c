use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb, Rgba};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::*;
use crate::keyed::Key;

/// A smooth picture, which JPEG keeps nearly as it is.
fn smooth(height: usize, width: usize) -> Rgb8 {
    Rgb8::from_fn(height, width, |y, x| {
        [40 + (150 * y / height) as u8, 60 + (120 * x / width) as u8, 200 - (90 * x / width) as u8]
    })
}

fn jpeg(
    pixels: &[u8],
    height: usize,
    width: usize,
    color: ColorType,
    adjust: impl Fn(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 95);
    encoder.set_sampling_factor(SamplingFactor::F_1_1);
    adjust(&mut encoder);
    encoder.encode(pixels, width as u16, height as u16, color).unwrap();
    bytes
}

fn file(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Decodes and compares, each value within `tolerance` levels.
fn check(what: &str, bytes: &[u8], expected: &Rgb8, tolerance: u8) {
    let got = decode(bytes, &DecodeOptions::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!((got.height, got.width), (expected.height, expected.width), "{what}");
    let worst = got.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(tolerance), "{what}: {worst:?} levels off");
}

#[test]
fn jpeg_in_all_its_color_models() {
    for (h, w) in [(37, 53), (8, 16), (1, 1), (1, 40), (65, 3)] {
        let image = smooth(h, w);
        let px = &image.pixels;
        check("rgb", &jpeg(px, h, w, ColorType::Rgb, |_| ()), &image, 8);
        check("progressive", &jpeg(px, h, w, ColorType::Rgb, |e| e.set_progressive(true)), &image, 8);
        if h.min(w) > 30 {
            let halved = jpeg(px, h, w, ColorType::Rgb, |e| e.set_sampling_factor(SamplingFactor::F_2_2));
            check("4:2:0", &halved, &image, 8);
        }
        check("restarts", &jpeg(px, h, w, ColorType::Rgb, |e| e.set_restart_interval(2)), &image, 8);

        let grey = Rgb8::from_fn(h, w, |y, x| [image.pixel(y, x)[0]; 3]);
        let luma: Vec<u8> = grey.pixels.chunks(3).map(|p| p[0]).collect();
        check("grey", &jpeg(&luma, h, w, ColorType::Luma, |_| ()), &grey, 4);

        // ink = 255 - color, black = 64: every channel is dimmed by 191 / 255
        let inks: Vec<u8> = px.chunks(3).flat_map(|p| [255 - p[0], 255 - p[1], 255 - p[2], 64]).collect();
        let dim = |v: u8| (u32::from(v) * 191 / 255) as u8;
        let dimmed = Rgb8::from_fn(h, w, |y, x| image.pixel(y, x).map(dim));
        check("cmyk", &jpeg(&inks, h, w, ColorType::Cmyk, |_| ()), &dimmed, 8);
        check("ycck", &jpeg(&inks, h, w, ColorType::CmykAsYcck, |_| ()), &dimmed, 8);
    }
}

#[test]
fn png_and_webp_at_every_depth() {
    let image = smooth(9, 14);
    let (h, w) = (9u32, 14u32);
    let at = |x: u32, y: u32| image.pixel(y as usize, x as usize);
    let rgb: ImageBuffer<Rgb<u8>, _> = ImageBuffer::from_fn(w, h, |x, y| Rgb(at(x, y)));
    let rgba: ImageBuffer<Rgba<u8>, _> = ImageBuffer::from_fn(w, h, |x, y| {
        let [r, g, b] = at(x, y);
        Rgba([r, g, b, (x * 10) as u8])
    });
    let deep: ImageBuffer<Rgb<u16>, _> =
        ImageBuffer::from_fn(w, h, |x, y| Rgb(at(x, y).map(|v| u16::from(v) * 257 + 60)));
    let grey16: ImageBuffer<Luma<u16>, _> =
        ImageBuffer::from_fn(w, h, |x, y| Luma([u16::from(at(x, y)[0]) * 257]));
    let grey = Rgb8::from_fn(9, 14, |y, x| [image.pixel(y, x)[0]; 3]);
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        check("rgb", &file(rgb.clone().into(), format), &image, 0);
        check("rgba", &file(rgba.clone().into(), format), &image, 0);
    }
    check("16-bit rgb", &file(deep.into(), ImageFormat::Png), &image, 0);
    check("16-bit grey", &file(grey16.into(), ImageFormat::Png), &grey, 0);
}

/// A minimal EXIF block: little-endian, one entry, the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    block.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    block
}

#[test]
fn exif_orientation_is_applied_unless_told_otherwise() {
    let image = smooth(16, 24);
    let bytes = jpeg(&image.pixels, 16, 24, ColorType::Rgb, |e| e.add_app_segment(1, exif(6)).unwrap());
    let upright = Rgb8::from_fn(24, 16, |y, x| image.pixel(15 - x, y));
    check("turned", &bytes, &upright, 8);
    let stored = decode(&bytes, &DecodeOptions { orient: false, ..Default::default() }).unwrap();
    assert_eq!((stored.height, stored.width), (16, 24));
}

#[test]
fn pictures_over_the_limit_are_refused_before_they_are_unpacked() {
    let image = smooth(20, 30);
    let small = DecodeOptions { max_pixels: 599, ..Default::default() };
    let png = file(DynamicImage::new_rgb8(30, 20), ImageFormat::Png);
    for bytes in [&jpeg(&image.pixels, 20, 30, ColorType::Rgb, |_| ()), &png] {
        let error = decode(bytes, &small).unwrap_err();
        assert!(matches!(error, DecodeError::TooLarge { height: 20, width: 30, limit: 599 }), "{error}");
        assert!(decode(bytes, &DecodeOptions { max_pixels: 600, ..small }).is_ok());
    }
    // a JPEG header that claims 65,500 x 65,500 pixels
    let mut bomb = jpeg(&image.pixels, 20, 30, ColorType::Rgb, |_| ());
    let frame = bomb.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    bomb[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
    let error = decode(&bomb, &DecodeOptions::default()).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
}

#[test]
fn what_is_no_picture_is_named() {
    for (bytes, expected) in
        [(&b""[..], "the file is empty"), (b"GIF89a....", "47, 49, 46"), (b"\xFF", "[ff]")]
    {
        let error = decode(bytes, &DecodeOptions::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// The same picture in each format, large enough that half a file is clearly half a picture.
fn samples() -> Vec<Vec<u8>> {
    let noise = Rgb8::from_fn(48, 64, |y, x| {
        let bits = Key::new(1).with(y as u64).with(x as u64).draws().bits();
        [bits as u8, (bits >> 8) as u8, (bits >> 16) as u8]
    });
    let raw = image::RgbImage::from_raw(64, 48, noise.pixels.clone()).unwrap();
    vec![
        jpeg(&noise.pixels, 48, 64, ColorType::Rgb, |_| ()),
        jpeg(&noise.pixels, 48, 64, ColorType::Rgb, |e| e.set_progressive(true)),
        file(raw.clone().into(), ImageFormat::Png),
        file(raw.into(), ImageFormat::WebP),
    ]
}

#[test]
fn truncated_files_are_errors() {
    for (which, bytes) in samples().into_iter().enumerate() {
        for part in [1, 2, 5, 8] {
            let cut = &bytes[..bytes.len() * part / 10];
            assert!(decode(cut, &DecodeOptions::default()).is_err(), "sample {which} at {part}/10");
        }
    }
    let half = &samples()[0][..4000];
    let salvaged = decode(half, &DecodeOptions { salvage: true, ..Default::default() }).unwrap();
    assert_eq!((salvaged.height, salvaged.width), (48, 64));
}

#[test]
fn damaged_files_never_panic() {
    // a decoder's panic would be caught, but must not happen either: it costs a message on the terminal
    for (which, bytes) in samples().into_iter().enumerate() {
        for round in 0..400 {
            let mut draws = Key::new(which as u64).with(round).draws();
            let mut damaged = bytes.clone();
            for _ in 0..1 + draws.below(6) {
                // half of the flips in the headers, where they matter most
                let reach = if draws.chance(0.5) { 700.min(damaged.len()) } else { damaged.len() };
                damaged[draws.below(reach as u64) as usize] ^= 1 << draws.below(8);
            }
            for salvage in [false, true] {
                let options = DecodeOptions { salvage, max_pixels: 1_000_000, ..Default::default() };
                if let Err(error) = decode(&damaged, &options) {
                    assert!(!error.to_string().contains("gave up"), "sample {which}, round {round}");
                }
            }
        }
    }
}
