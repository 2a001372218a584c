use super::*;
use crate::kernels::cuda::optimizer::placed::Placed;
use crate::kernels::cuda::optimizer::{adamw, lerp};
use crate::kernels::cuda::probe::{self, lent, taken};
use crate::kernels::probe::values;

/// Tensors of these tests, each of its own: no tensor of dfdx has such a number.
const FIRST: u64 = u64::MAX - 100;

fn find(gpu: &Gpu, kind: Kind, w: View<'_>) -> Option<Arc<Memory>> {
    let stretch = Stretch { pointer: w.pointer(), len: w.len(), kind };
    gpu.with_kept(|kept| kept.find(w.tensor().unwrap(), stretch))
}

/// The numbers of one tensor.
struct Weights {
    placed: Placed,
    tensor: u64,
}

impl Weights {
    fn new(gpu: &Gpu, tensor: u64, shift: usize, values: &[f32]) -> Weights {
        gpu.with_kept(|kept| kept.0.remove(&tensor));
        Weights { placed: Placed::new(gpu, shift, values), tensor }
    }

    fn view(&self) -> View<'_> {
        self.placed.view().of_tensor(self.tensor)
    }

    /// As a tensor of dfdx is lent to be written.
    fn view_mut(&mut self, gpu: &Gpu) -> ViewMut<'_> {
        gpu.with_kept(|kept| kept.forget(self.tensor));
        self.placed.view_mut().of_tensor(self.tensor)
    }

    fn made(&self, gpu: &Gpu, kind: Kind) -> Arc<Memory> {
        rounded(gpu, kind, self.view()).unwrap().unwrap()
    }

    /// What a conversion makes of them now.
    fn converted(&self, gpu: &Gpu, kind: Kind) -> Vec<f32> {
        let mut numbers = gpu.unwritten(kind, self.view().len()).unwrap();
        convert(gpu, self.view().into(), numbers.any_mut()).unwrap();
        taken(gpu, &numbers)
    }
}

/// One step of AdamW, to other numbers in every place.
fn update(gpu: &Gpu, p: ViewMut<'_>, average: Option<ViewMut<'_>>) {
    let n = p.len();
    let g = lent(gpu, &values("g", n));
    let (mut m, mut v) = (lent(gpu, &values("m", n)), lent(gpu, &vec![1.0; n]));
    let (m, v) = (m.view_mut(), v.view_mut());
    adamw(gpu, p, g.view(), m, v, 0.5, 0.1, 0.9, 0.999, 1e-8, 3, 1.0, average, 0.5).unwrap();
}

#[test]
fn what_was_made_of_a_tensor_is_kept_until_it_changes() {
    let Some(gpu) = probe::gpu() else { return };
    let mut weights = Weights::new(gpu, FIRST, 0, &[1.0, 2.0, 3.0, 4.0]);
    let first = weights.made(gpu, Kind::Bf16);
    assert!(Arc::ptr_eq(&first, &weights.made(gpu, Kind::Bf16)), "made once");
    let part = |weights: &Weights| rounded(gpu, Kind::Bf16, weights.view().slice(1..3)).unwrap().unwrap();
    assert_eq!(taken(gpu, &part(&weights)), [2.0, 3.0]);
    gpu.write(weights.view_mut(gpu), &[5.0, 6.0, 7.0, 8.0]).unwrap();
    assert_eq!(taken(gpu, &weights.made(gpu, Kind::Bf16)), [5.0, 6.0, 7.0, 8.0]);
    assert_eq!(taken(gpu, &part(&weights)), [6.0, 7.0]);
    assert_eq!(taken(gpu, &first), [1.0, 2.0, 3.0, 4.0], "whoever has it keeps it");
}

#[test]
fn memory_of_what_is_out_of_date_is_used_again() {
    let Some(gpu) = probe::gpu() else { return };
    let mut weights = Weights::new(gpu, FIRST + 1, 0, &[1.0, 2.0]);
    let place = |weights: &Weights, kind| weights.made(gpu, kind).any().pointer();
    let at = place(&weights, Kind::Bf16);
    place(&weights, Kind::F16);
    // what is lent twice before anybody asks is out of date once
    weights.view_mut(gpu);
    gpu.write(weights.view_mut(gpu), &[3.0, 4.0]).unwrap();
    assert!(find(gpu, Kind::Bf16, weights.view()).is_none(), "nobody finds it");
    assert_eq!(place(&weights, Kind::Bf16), at);
    assert_eq!(taken(gpu, &weights.made(gpu, Kind::Bf16)), [3.0, 4.0]);
    // of what was not asked for between two changes no memory is held
    weights.view_mut(gpu);
    let rooms = gpu.with_kept(|kept| kept.0[&weights.tensor].stale.len());
    assert_eq!(rooms, 1, "the place of bf16 alone");
}

#[test]
fn adamw_writes_what_products_are_given() {
    let Some(gpu) = probe::gpu() else { return };
    let sizes = [1, 3, 4, 1023, 1024, 5003];
    let cases = sizes.iter().flat_map(|&n| [0, 1, 2].map(|shift| (n, shift)));
    for ((n, shift), kind) in cases.flat_map(|case| [Kind::Bf16, Kind::F16].map(|kind| (case, kind))) {
        let [p, a] = ["p", "average"].map(|name| values(name, n));
        let mut p = Weights::new(gpu, FIRST + 2, shift, &p);
        let mut a = Weights::new(gpu, FIRST + 3, shift, &a);
        // (of the weights, of the average) something is in use
        for (of_p, of_a, follows) in
            [(true, true, true), (true, false, true), (false, true, true), (true, false, false)]
        {
            [&p, &a].into_iter().for_each(|w| drop(gpu.with_kept(|kept| kept.0.remove(&w.tensor))));
            let place = |w: &Weights, used: bool| used.then(|| w.made(gpu, kind).any().pointer());
            let places = [place(&p, of_p), place(&a, of_a)];
            let before = [&p, &a].map(|w| w.converted(gpu, kind));
            update(gpu, p.view_mut(gpu), follows.then(|| a.view_mut(gpu)));
            for (i, (w, place)) in [&p, &a].into_iter().zip(places).enumerate() {
                let what = format!("{n} numbers from {shift} in {kind:?}, {of_p} {of_a} {follows}, {i}");
                let found = find(gpu, kind, w.view());
                assert_eq!(found.as_ref().map(|found| found.any().pointer()), place, "{what}: in its place");
                let Some(found) = found else { continue };
                let (found, wanted) = (taken(gpu, &found), w.converted(gpu, kind));
                assert!(found == wanted, "{what}: {found:?} for {wanted:?}");
                assert!(n < 4 || found != before[i], "{what}: nothing has moved");
            }
        }
    }
}

#[test]
fn only_what_an_update_wrote_is_current_after_it() {
    let Some(gpu) = probe::gpu() else { return };
    let mut w = Weights::new(gpu, FIRST + 4, 0, &values("p", 100));
    let part = 10..40;
    let both =
        |w: &Weights| [w.view(), w.view().slice(part.clone())].map(|w| find(gpu, Kind::F16, w).is_some());
    let use_both = |w: &Weights| {
        w.made(gpu, Kind::F16);
        let made = rounded(gpu, Kind::F16, w.view().slice(part.clone())).unwrap().unwrap();
        assert_eq!(taken(gpu, &made), w.converted(gpu, Kind::F16)[part.clone()]);
        assert_eq!(both(w), [true; 2]);
    };
    use_both(&w);
    update(gpu, w.view_mut(gpu), None);
    assert_eq!(both(&w), [true, false], "a stretch is not");
    use_both(&w);
    // another's update, by a kernel that knows nothing of it
    let source = lent(gpu, &values("x", 100));
    lerp(gpu, w.view_mut(gpu), source.view(), 0.5).unwrap();
    assert_eq!(both(&w), [false; 2], "after another kernel");
    use_both(&w);
    // what is lent on may be written by others afterwards
    let mut lent_on = w.view_mut(gpu);
    update(gpu, lent_on.lend(), None);
    gpu.write(lent_on.slice(0..1), &[7.0]).unwrap();
    assert_eq!(both(&w), [false; 2], "after a part of the numbers was written");
    use_both(&w);
    // one that somebody looks at still is not written over
    let held = w.made(gpu, Kind::F16);
    let before = taken(gpu, &held);
    update(gpu, w.view_mut(gpu), None);
    assert_eq!((both(&w), taken(gpu, &held)), ([false; 2], before), "held");
    drop(held);
    use_both(&w);
    // a kernel that did not start
    drop(renewal(gpu, Kind::F16, &w.view_mut(gpu)).expect("room for new numbers"));
    assert_eq!(both(&w), [false; 2], "never written");
    use_both(&w);
    // two precisions in use: one of them is written
    w.made(gpu, Kind::Bf16);
    update(gpu, w.view_mut(gpu), None);
    assert_eq!(
        (both(&w), find(gpu, Kind::Bf16, w.view()).is_some()),
        ([false; 2], true),
        "the other precision"
    );
    use_both(&w);
}
