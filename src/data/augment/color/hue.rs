//! Turning hues through 8-bit HSV, as Pillow converts and torchvision shifts.

use super::block::{Block, PIXELS};

/// Turns every pixel's hue by `by` / 256 of the circle.
#[inline(always)]
pub fn turn(block: &mut Block, by: u8) {
    let by = f32::from(by);
    for i in 0..PIXELS {
        let (hue, saturation, value) = to_hsv(block.red[i], block.green[i], block.blue[i]);
        let turned = hue + by;
        let turned = if turned > 255.5 { turned - 256.0 } else { turned };
        (block.red[i], block.green[i], block.blue[i]) = to_rgb(turned, saturation, value);
    }
}

/// 8-bit hue, saturation and value of an 8-bit color (Smith 1978), each cut to a whole level.
#[inline(always)]
fn to_hsv(red: f32, green: f32, blue: f32) -> (f32, f32, f32) {
    let most = larger(larger(red, green), blue);
    let least = smaller(smaller(red, green), blue);
    let range = most - least;
    // the largest channel says which third of the circle, the difference of the others where in it
    let (difference, third) = if red == most {
        (green - blue, 0.0)
    } else if green == most {
        (blue - red, 2.0)
    } else {
        (red - green, 4.0)
    };
    // greys have no hue: dividing by 1 gives 0, which is what is stored for them
    let share = difference / if range > 0.0 { range } else { 1.0 };
    let sixths = share + third;
    let circle = sixths / 6.0;
    let circle = if circle < 0.0 { circle + 1.0 } else { circle };
    let saturation = range / if most > 0.0 { most } else { 1.0 };
    ((circle * 255.0).trunc(), (saturation * 255.0).trunc(), most)
}

/// The 8-bit color of 8-bit hue, saturation and value, rounded.
#[inline(always)]
fn to_rgb(hue: f32, saturation: f32, value: f32) -> (f32, f32, f32) {
    let sixths = hue * (6.0 / 255.0);
    let chroma = saturation * (1.0 / 255.0);
    // how much of a channel's full color the hue has: a trapezium around the circle for each channel
    let channel = |share: f32| {
        let share = smaller(larger(share, 0.0), 1.0);
        (value * (1.0 - chroma * (1.0 - share)) + 0.5).trunc()
    };
    (
        channel((sixths - 3.0).abs() - 1.0),
        channel(2.0 - (sixths - 2.0).abs()),
        channel(2.0 - (sixths - 4.0).abs()),
    )
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}
