use super::*;
use crate::data::augment::{
    IMAGENET_DEVIATION, IMAGENET_MEAN, MultiCropSpec, Scratch, apply, draws, normalize_into,
};
use crate::kernels::cuda::crops::{Normal, Records, Staging, crops};
use crate::kernels::cuda::probe::gpu;
use crate::kernels::cuda::{Gpu, Kind};
use crate::keyed::Key;

const NORMAL: Normal = Normal { mean: IMAGENET_MEAN, deviation: IMAGENET_DEVIATION };

/// Slopes, edges and noise.
fn drawn_picture(height: usize, width: usize, seed: u64) -> Rgb8 {
    let mut noise = Key::new(seed).draws();
    Rgb8::from_fn(height, width, |y, x| {
        let edge = if (x / 7 + y / 5) % 2 == 0 { 70 } else { 0 };
        let grain = noise.below(40) as usize;
        [edge + x * 140 / width + grain, edge + y * 140 / height + grain, (x * y + edge) % 200 + grain]
            .map(|level| level.min(255) as u8)
    })
}

/// Crops of pictures as the host makes them and as the GPU does, each (crops, 3, side, side).
fn both(
    gpu: &Gpu,
    (staging, records): &mut (Staging, Records),
    pictures: &[Rgb8],
    cuts: &[(usize, ViewDraw)],
) -> [Vec<f32>; 2] {
    let side = cuts[0].1.size;
    let (each, mut scratch) = (3 * side * side, Scratch::default());
    let mut wanted = vec![0.0; cuts.len() * each];
    for ((picture, drawn), out) in cuts.iter().zip(wanted.chunks_exact_mut(each)) {
        normalize_into(&apply(&pictures[*picture], drawn, &mut scratch), NORMAL.mean, NORMAL.deviation, out);
    }
    let lent: Vec<_> = pictures.iter().map(picture).collect();
    let sent = staging.send(gpu, &lent).unwrap();
    let list: Vec<Crop> = cuts.iter().map(|(picture, drawn)| crop(drawn, *picture).unwrap()).collect();
    let mut out = gpu.unwritten(Kind::F32, wanted.len()).unwrap();
    gpu.write(out.view_mut(), &vec![f32::NAN; wanted.len()]).unwrap();
    crops(gpu, records, &sent, &list, side, NORMAL, out.view_mut()).unwrap();
    [wanted, gpu.read(out.view()).unwrap()]
}

/// Values that differ at all; more than a level apart they may not be.
#[track_caller]
fn differing(what: &str, [wanted, found]: &[Vec<f32>; 2]) -> usize {
    let level = 1.01 / (255.0 * NORMAL.deviation[1]);
    let near = wanted.iter().zip(found).filter(|(a, b)| (*a - *b).abs() <= level).count();
    assert_eq!(near, wanted.len(), "{what}: all but so many values are more than a level apart");
    wanted.iter().zip(found).filter(|(a, b)| a.to_bits() != b.to_bits()).count()
}

/// The same, where the GPU is held to every bit.
#[track_caller]
fn same(what: &str, both: &[Vec<f32>; 2]) {
    let differ = differing(what, both);
    assert_eq!(differ, 0, "{what}: values that differ, of {}", both[0].len());
}

#[test]
fn all_crops_of_pictures_are_the_hosts() {
    let Some(gpu) = gpu() else { return };
    let shapes = [(61, 97), (427, 640), (3, 5), (1, 1), (150, 31), (0, 0), (64, 64)];
    let pictures: Vec<Rgb8> =
        shapes.iter().enumerate().map(|(i, &(h, w))| drawn_picture(h, w, i as u64)).collect();
    let mut staging = Default::default();
    for (round, (global, local)) in [(64, 24), (37, 13)].into_iter().enumerate() {
        let spec =
            MultiCropSpec { global_size: global, local_size: local, local_crops: 6, ..Default::default() };
        let (mut globals, mut locals) = (Vec::new(), Vec::new());
        for (index, picture) in pictures.iter().enumerate() {
            let key = Key::new(5).with(round as u64).with(index as u64);
            let (global, local) = draws(&spec, key, picture.height, picture.width);
            globals.extend(global.into_iter().map(|drawn| (index, drawn)));
            locals.extend(local.into_iter().map(|drawn| (index, drawn)));
        }
        same("global crops", &both(gpu, &mut staging, &pictures, &globals));
        same("local crops", &both(gpu, &mut staging, &pictures, &locals));
    }
}

#[test]
fn every_operation_alone_is_the_hosts() {
    let Some(gpu) = gpu() else { return };
    let (height, width) = (45, 58);
    let pictures = [drawn_picture(height, width, 1)];
    let cut = |size| ViewDraw { top: 3, left: 5, height: 33, width: 41, ..ViewDraw::plain(size) };
    let mut staging = Default::default();
    for size in [33, 16, 41, 50] {
        let mut cuts = vec![cut(size), ViewDraw { interpolation: Interpolation::Bilinear, ..cut(size) }];
        cuts.push(ViewDraw { flip: true, ..cut(size) });
        cuts.extend([0, 1, 128, 255].map(|level| ViewDraw { solarize: Some(level), ..cut(size) }));
        cuts.extend(
            [0.1, 0.5, 1.0, 1.42, 2.0, 3.7, 9.0, 300.0].map(|r| ViewDraw { blur: Some(r), ..cut(size) }),
        );
        let mut colors = vec![Color::Grayscale];
        for factor in [0.0, 0.6, 1.0, 1.37, 3.0] {
            colors.extend([Color::Brightness(factor), Color::Contrast(factor), Color::Saturation(factor)]);
        }
        colors.extend([-0.5, -0.1, 0.0, 0.033, 0.1, 0.5].map(Color::Hue));
        cuts.extend(colors.into_iter().map(|color| ViewDraw { colors: vec![color], ..cut(size) }));
        let cuts: Vec<_> = cuts.into_iter().map(|drawn| (0, drawn)).collect();
        let found = both(gpu, &mut staging, &pictures, &cuts);
        for (i, (_, drawn)) in cuts.iter().enumerate() {
            let part = i * 3 * size * size..(i + 1) * 3 * size * size;
            same(&format!("{drawn:?}"), &[found[0][part.clone()].to_vec(), found[1][part].to_vec()]);
        }
    }
}

#[test]
fn hues_are_the_hosts_for_every_color() {
    let Some(gpu) = gpu() else { return };
    // 2^15 colors in a picture of 182 x 182, which is not resized
    let size = 182;
    let picture = Rgb8::from_fn(size, size, |y, x| {
        let at = (y * size + x) % (1 << 15);
        [at & 31, (at >> 5) & 31, at >> 10].map(|level| (level * 255 / 31) as u8)
    });
    let shares = [-0.1, 0.07];
    let cuts = shares.map(|share| (0, ViewDraw { colors: vec![Color::Hue(share)], ..ViewDraw::plain(size) }));
    same("hue", &both(gpu, &mut Default::default(), &[picture], &cuts));
}

#[test]
fn sizes_far_apart_and_large_sides_are_the_hosts() {
    let Some(gpu) = gpu() else { return };
    let pictures = [drawn_picture(9, 700, 3), drawn_picture(900, 4, 4)];
    let cuts = |size: usize| {
        [0, 1].map(|i| {
            let (height, width) = (pictures[i].height, pictures[i].width);
            let colors = vec![Color::Hue(0.1), Color::Contrast(1.3), Color::Brightness(0.8)];
            (i, ViewDraw { height, width, colors, blur: Some(1.5), flip: true, ..ViewDraw::plain(size) })
        })
    };
    for size in [1, 2, 5, 530] {
        same(&format!("side {size}"), &both(gpu, &mut Default::default(), &pictures, &cuts(size)));
    }
}
