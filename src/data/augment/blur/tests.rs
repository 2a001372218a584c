use super::*;

/// The definition, one pixel at a time.
fn scalar(image: &Rgb8, radius: f64) -> Rgb8 {
    let kernel = BoxKernel::of(radius);
    let mut out = image.clone();
    for along_rows in [true, true, true, false, false, false] {
        let from = out.clone();
        let at = |y: isize, x: isize| {
            let y = y.clamp(0, from.height as isize - 1) as usize;
            from.pixel(y, x.clamp(0, from.width as isize - 1) as usize)
        };
        out = Rgb8::from_fn(from.height, from.width, |y, x| {
            let (y, x, reach) = (y as isize, x as isize, kernel.reach() as isize);
            let tap = |d: isize| if along_rows { at(y, x + d) } else { at(y + d, x) };
            std::array::from_fn(|c| {
                let inner = (1 - reach..reach).map(|d| u32::from(tap(d)[c])).sum();
                kernel.weigh(inner, u32::from(tap(-reach)[c]) + u32::from(tap(reach)[c]))
            })
        });
    }
    out
}

#[test]
fn agrees_with_the_definition_at_every_size_and_radius() {
    let mut scratch = Scratch::default();
    for (h, w) in [(1, 1), (1, 2), (3, 1), (2, 9), (17, 5), (40, 33)] {
        let image = Rgb8::from_fn(h, w, |y, x| [(y * 91 + x * 57) as u8, (x * x) as u8, (y * 201) as u8]);
        for radius in [0.1, 0.5, 1.0, 1.41, 1.42, 2.0, 3.7, 9.0] {
            let mut blurred = image.clone();
            gaussian_blur(&mut blurred, radius, &mut scratch);
            assert_eq!(blurred, scalar(&image, radius), "{h} x {w} at {radius}");
        }
    }
}

#[test]
fn a_flat_picture_stays_flat_and_odd_radii_are_harmless() {
    let flat = Rgb8::from_fn(5, 7, |_, _| [0, 128, 255]);
    for radius in [-1.0, 0.0, f64::NAN, 0.01, 2.0, 1e30, f64::INFINITY] {
        let mut blurred = flat.clone();
        gaussian_blur(&mut blurred, radius, &mut Scratch::default());
        assert_eq!(blurred, flat, "{radius}");
    }
}
