use super::*;
use crate::keyed::Key;

fn noise(height: usize, width: usize) -> Rgb8 {
    let mut draws = Key::new(8).draws();
    Rgb8::from_fn(height, width, |_, _| std::array::from_fn(|_| draws.below(256) as u8))
}

/// The definitions, one pixel at a time, in the types of Pillow's C code.
mod scalar {
    pub fn grey([r, g, b]: [u8; 3]) -> u8 {
        ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
    }

    pub fn blend(from: u8, value: u8, factor: f32) -> u8 {
        let level = f32::from(from) + factor * f32::from(i16::from(value) - i16::from(from));
        level.clamp(0.0, 255.0) as u8
    }

    pub fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        if most == least {
            return [0, 0, most];
        }
        let range = f32::from(most - least);
        let s = range / f32::from(most);
        let [rc, gc, bc] = [r, g, b].map(|v| f32::from(most - v) / range);
        let h = if r == most {
            bc - gc
        } else if g == most {
            (2.0 + f64::from(rc) - f64::from(bc)) as f32
        } else {
            (4.0 + f64::from(gc) - f64::from(rc)) as f32
        };
        let h = ((f64::from(h) / 6.0 + 1.0) % 1.0) as f32;
        [(f64::from(h) * 255.0) as u8, (f64::from(s) * 255.0) as u8, most]
    }

    pub fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
        if s == 0 {
            return [v; 3];
        }
        let place = f64::from(h) * 6.0 / 255.0;
        let (sector, f) = (place.floor() as u8, (place - place.floor()) as f32);
        let (fs, f) = (f64::from(f32::from(s) / 255.0), f64::from(f));
        let level = |share: f64| (f64::from(v) * share).round().clamp(0.0, 255.0) as u8;
        let (p, q, t) = (level(1.0 - fs), level(1.0 - fs * f), level(1.0 - fs * (1.0 - f)));
        match sector % 6 {
            0 => [v, t, p],
            1 => [q, v, p],
            2 => [p, v, t],
            3 => [p, q, v],
            4 => [t, p, v],
            _ => [v, p, q],
        }
    }

    pub fn turn(pixel: [u8; 3], by: u8) -> [u8; 3] {
        let [h, s, v] = to_hsv(pixel);
        to_rgb([h.wrapping_add(by), s, v])
    }
}

/// Compares with one pixel at a time, at sizes that fill blocks and that do not.
fn check(operation: Color, pixel: impl Fn([u8; 3], u8) -> [u8; 3]) {
    for (h, w) in [(1, 1), (1, 63), (8, 8), (5, 13), (37, 41)] {
        let image = noise(h, w);
        let greys = image.pixels.chunks(3).map(|p| u64::from(scalar::grey([p[0], p[1], p[2]])));
        let mean = (greys.sum::<u64>() as f64 / (h * w) as f64 + 0.5) as u8;
        let mut got = image.clone();
        adjust(&mut got, &[operation]);
        assert_eq!(
            got,
            Rgb8::from_fn(h, w, |y, x| pixel(image.pixel(y, x), mean)),
            "{operation:?} at {h} x {w}"
        );
    }
}

#[test]
fn blends_and_greys_are_pillows_bit_for_bit() {
    for factor in [0.0, 0.3, 0.6, 1.0, 1.2, 1.4, 3.0] {
        let f = factor as f32;
        check(Color::Brightness(factor), |p, _| p.map(|v| scalar::blend(0, v, f)));
        check(Color::Contrast(factor), |p, mean| p.map(|v| scalar::blend(mean, v, f)));
        check(Color::Saturation(factor), |p, _| p.map(|v| scalar::blend(scalar::grey(p), v, f)));
    }
    check(Color::Grayscale, |p, _| [scalar::grey(p); 3]);
}

#[test]
fn hue_is_pillows_for_every_color() {
    // all 2^24 colors, one turn each
    let mut wrong = 0;
    for red in 0..=255u8 {
        let image = Rgb8::from_fn(256, 256, |y, x| [red, y as u8, x as u8]);
        let share = f64::from(red) / 255.0 - 0.5;
        let by = (share * 255.0) as i32 as u8;
        let mut got = image.clone();
        hue(&mut got, share);
        let expected = image.pixels.chunks(3).flat_map(|p| scalar::turn([p[0], p[1], p[2]], by));
        wrong += got.pixels.iter().zip(expected).filter(|(a, b)| **a != *b).count();
    }
    println!("{wrong} of {} values differ", 3 << 24);
    // Pillow mixes float and double; single precision throughout moves 7 values in 10,000 by a step of hue
    assert!(wrong < 35_000, "{wrong} values differ");
}

#[test]
fn operations_fuse_without_changing_their_result() {
    use Color::{Brightness, Contrast, Grayscale, Hue, Saturation};
    let orders: [&[Color]; 6] = [
        &[],
        &[Contrast(1.3), Hue(0.05)],
        &[Brightness(0.7), Saturation(1.1), Contrast(0.8), Hue(-0.02), Grayscale],
        &[Grayscale, Contrast(1.4)],
        &[Contrast(0.5), Contrast(1.5), Contrast(0.9)],
        &[Hue(0.5), Brightness(1.4), Contrast(1.4), Saturation(0.8)],
    ];
    for order in orders {
        for (h, w) in [(1, 1), (3, 5), (8, 8), (33, 47)] {
            let (mut fused, mut single) = (noise(h, w), noise(h, w));
            adjust(&mut fused, order);
            order.iter().for_each(|&operation| adjust(&mut single, &[operation]));
            assert_eq!(fused, single, "{order:?} at {h} x {w}");
        }
    }
    adjust(&mut Rgb8::default(), &[Contrast(0.5)]);
}
