//! Pictures of several batches on their way at once. Nothing here reads a number before all batches were started: a stand-in that puts work
//! off does it as late as it may.

use super::*;
use crate::kernels::cuda::probe;

const SIDE: usize = 6;
const NORMAL: Normal = Normal { mean: [0.0; 3], deviation: [1.0; 3] };

/// A batch: two pictures of one level each, so many pixels a side.
#[derive(Clone, Copy)]
struct Batch {
    side: usize,
    levels: [u8; 2],
}

fn send(gpu: &Gpu, staging: &mut Staging, Batch { side, levels }: Batch) -> Pictures {
    let pixels = levels.map(|level| vec![level; 3 * side * side]);
    let pictures = pixels.each_ref().map(|pixels| Picture { height: side, width: side, pixels });
    staging.send(gpu, &pictures).unwrap()
}

/// Starts what makes a crop of each picture.
fn cut(gpu: &Gpu, records: &mut Records, pictures: &Pictures) -> Memory {
    let crop = |picture: usize| {
        let Place { height, width, .. } = pictures.place(picture);
        let (top, left, filter, flip) = (0, 0, Filter::Bilinear, false);
        Crop { picture, top, left, height, width, filter, flip, shades: vec![], blur: None, solarize: None }
    };
    let mut out = gpu.unwritten(Kind::F32, 2 * 3 * SIDE * SIDE).unwrap();
    crops(gpu, records, pictures, &[crop(0), crop(1)], SIDE, NORMAL, out.view_mut()).unwrap();
    out
}

/// So many batches, of other levels each.
fn batches(sides: &[usize]) -> Vec<Batch> {
    let batch = |(i, &side): (usize, &usize)| Batch { side, levels: [10 * i as u8 + 1, 10 * i as u8 + 5] };
    sides.iter().enumerate().map(batch).collect()
}

#[track_caller]
fn check(gpu: &Gpu, what: &str, batches: &[Batch], made: &[Memory]) {
    assert_eq!(batches.len(), made.len());
    for (i, (batch, out)) in batches.iter().zip(made).enumerate() {
        let found = gpu.read(out.view()).unwrap();
        for (level, crop) in batch.levels.iter().zip(found.chunks_exact(3 * SIDE * SIDE)) {
            let wanted = f32::from(*level) / 255.0;
            let near = crop.iter().filter(|x| (*x - wanted).abs() < 1e-6).count();
            assert_eq!(near, crop.len(), "{what}: batch {i} is its own pictures', {wanted}, not {crop:?}");
        }
    }
}

#[test]
fn batches_that_follow_each_other_do_not_mix() {
    let Some(gpu) = probe::gpu() else { return };
    // places are taken in turn, grow, and hold less than they have room for
    for sides in [&[9; 7][..], &[9, 9, 40, 9, 9, 41, 80, 9, 9]] {
        let (batches, mut staging, mut records) = (batches(sides), Staging::default(), Records::default());
        let start = |batch: &Batch| {
            let sent = send(gpu, &mut staging, *batch);
            cut(gpu, &mut records, &sent)
        };
        let made: Vec<Memory> = batches.iter().map(start).collect();
        check(gpu, "in turn", &batches, &made);
    }
}

#[test]
fn pictures_stay_for_as_long_as_they_are_held() {
    let Some(gpu) = probe::gpu() else { return };
    let (all, mut staging, mut records) = (batches(&[9; 9]), Staging::default(), Records::default());
    let sent: Vec<Pictures> = all[..6].iter().map(|batch| send(gpu, &mut staging, *batch)).collect();
    let mut made: Vec<Memory> = sent.iter().map(|sent| cut(gpu, &mut records, sent)).collect();
    drop(sent);
    // the places that came back serve others, which are let go after the one who sent them
    made.extend(all[6..].iter().map(|batch| {
        let sent = send(gpu, &mut staging, *batch);
        cut(gpu, &mut records, &sent)
    }));
    let last = send(gpu, &mut staging, all[0]);
    drop(staging);
    made.push(cut(gpu, &mut Records::default(), &last));
    drop(last);
    let all: Vec<Batch> = all.iter().chain(&all[..1]).copied().collect();
    check(gpu, "held", &all, &made);
}

#[test]
fn pictures_that_nobody_cut_leave_their_place() {
    let Some(gpu) = probe::gpu() else { return };
    let (batches, mut staging, mut records) = (batches(&[9; 8]), Staging::default(), Records::default());
    let start = |(i, batch): (usize, &Batch)| {
        let sent = send(gpu, &mut staging, *batch);
        (i % 3 == 2).then(|| (*batch, cut(gpu, &mut records, &sent)))
    };
    let (cut, made): (Vec<Batch>, Vec<Memory>) = batches.iter().enumerate().filter_map(start).unzip();
    check(gpu, "left out", &cut, &made);
}

#[test]
fn a_place_is_kept_from_batch_to_batch() {
    let Some(gpu) = probe::gpu() else { return };
    let mut staging = Staging::default();
    let mut at = |side: usize| send(gpu, &mut staging, Batch { side, levels: [1, 2] }).pointer().unwrap();
    let first = [at(40), at(40)];
    assert_ne!(first[0], first[1], "one is filled while the other is read");
    // smaller pictures, and those of a quarter more
    assert_eq!([at(9), at(44)], first);
    assert_ne!([at(60), at(60)], first, "larger ones have no room there");
}
