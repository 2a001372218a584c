use dfdx::prelude::Cpu;

use super::*;
use crate::keyed::Key;

/// Accuracies by rows on a device: those that vote come in two parts and of any length, and leave room.
fn on<D: Kernels>(
    device: &D,
    (features, labels): (&[f32], &[u32]),
    val: &Labelled,
    ks: &[usize],
) -> Vec<Accuracy> {
    let dim = val.dim;
    let mut train = Bank::with_room(device, labels.len() + 3, dim).unwrap();
    let half = labels.len().div_ceil(2);
    for (features, labels) in features.chunks(half * dim).zip(labels.chunks(half)) {
        let rows =
            Batched::from_host(device, features.to_vec(), vec![1, labels.len(), dim], Some(1)).unwrap();
        train.add(&rows, labels.iter().copied()).unwrap();
    }
    let (train, val) = (train.normalized().unwrap(), Bank::new(device, val.clone()).unwrap());
    assert_eq!((train.len(), val.is_empty()), (labels.len(), false));
    classify_on(device, [&train, &val], ks, 0.07).unwrap()
}

#[test]
fn rows_on_a_device_vote_as_the_hosts_do() {
    let mut draws = Key::new(4).draws();
    let mut rows = |n: usize, dim: usize| -> (Vec<f32>, Vec<u32>) {
        let features = (0..n * dim).map(|_| draws.normal() as f32).collect();
        (features, (0..n).map(|_| draws.below(9) as u32).collect())
    };
    for (count, val, dim) in [(300, 71, 7), (5, 1, 3), (1, 2, 1), (40, ROWS + 3, 2)] {
        let ((features, labels), (of_val, labels_of_val)) = (rows(count, dim), rows(val, dim));
        let val = Labelled::normalized(dim, of_val, labels_of_val);
        let (ks, train) = ([1, 20, 200], Labelled::normalized(dim, features.clone(), labels.clone()));
        let expected = classify(&train, &val, &ks, 0.07);
        assert_eq!(on(&Cpu::default(), (&features, &labels), &val, &ks), expected, "{count}");
        #[cfg(feature = "cuda")]
        if let Some(gpu) = crate::kernels::cuda::probe::device() {
            assert_eq!(on(&gpu, (&features, &labels), &val, &ks), expected, "{count}");
        }
    }
}

#[test]
fn blocks_agree_with_the_obvious_way() {
    let mut draws = Key::new(3).draws();
    let mut rows = |n: usize| -> Labelled {
        let features = (0..n * 7).map(|_| draws.normal() as f32).collect();
        let labels = (0..n).map(|_| draws.below(6) as u32).collect();
        Labelled::normalized(7, features, labels)
    };
    let (train, val) = (rows(4096 + 77), rows(ROWS + 5));
    let found = classify(&train, &val, &[1, 20], 0.07);
    let mut hits = 0;
    for (row, &label) in val.features.chunks(7).zip(&val.labels) {
        let dot = |other: &[f32]| row.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
        let mut all: Vec<_> = train.features.chunks(7).map(dot).zip(&train.labels).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut votes = [0.0; 6];
        all[..20].iter().for_each(|(s, l)| votes[**l as usize] += (f64::from(*s) / 0.07).exp());
        let best = (0..6).max_by(|&a, &b| votes[a].total_cmp(&votes[b]).then(b.cmp(&a))).unwrap();
        hits += usize::from(best == label as usize);
    }
    assert_eq!(found[1].top1, 100.0 * hits as f64 / val.len() as f64);
    assert!(found[0].top5 >= found[0].top1);
}

#[test]
fn classes_without_votes_come_in_their_order_and_a_low_temperature_counts_all_the_same() {
    // classes 3, 4 and 6, in the order of their nearness to (1, 0)
    let train = Labelled::normalized(2, vec![1.0, 0.1, 1.0, 0.2, 1.0, 0.3], vec![3, 4, 6]);
    let check = |label: u32, k: usize, temperature: f64, expected: [f64; 2]| {
        let val = Labelled::normalized(2, vec![1.0, 0.0], vec![label]);
        let found = classify(&train, &val, &[k], temperature)[0];
        assert_eq!([found.top1, found.top5], expected, "class {label}, k {k}, temperature {temperature}");
    };
    check(3, 1, 0.07, [100.0, 100.0]);
    // behind class 3 come 0, 1, 2 and 4
    check(4, 1, 0.07, [0.0, 100.0]);
    check(6, 1, 0.07, [0.0, 0.0]);
    check(6, 3, 0.07, [0.0, 100.0]);
    check(1, 3, 0.07, [0.0, 100.0]);
    check(2, 3, 0.07, [0.0, 0.0]);
    // exp(1 / 0.0005) is more than a number holds
    check(3, 3, 0.0005, [100.0, 100.0]);
    check(6, 3, 0.0005, [0.0, 100.0]);
}

#[test]
fn of_equals_the_earlier_ones_vote() {
    // 300 equal rows, of which the first ten are of class 1; k = 10 sees these alone
    let rows = 300;
    let labels = (0..rows).map(|row| u32::from(row < 10)).collect();
    let train = Labelled::normalized(2, [3.0, 4.0].repeat(rows), labels);
    let val = Labelled::normalized(2, vec![1.0, 1.0], vec![1]);
    let accuracies = classify(&train, &val, &[10, 200], 0.07);
    assert_eq!(accuracies.iter().map(|a| a.top1).collect::<Vec<_>>(), [100.0, 0.0]);
}

#[test]
fn fewer_rows_than_neighbours_all_vote() {
    let one = Labelled::normalized(2, vec![1.0, 0.0], vec![0]);
    assert_eq!(classify(&one, &one, &[200], 0.07), [Accuracy { k: 200, top1: 100.0, top5: 100.0 }]);
}
