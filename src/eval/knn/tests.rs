use super::*;
use crate::keyed::Key;

#[test]
fn blocks_agree_with_the_obvious_way() {
    let mut draws = Key::new(3).draws();
    let mut rows = |n: usize| -> Labelled {
        let features = (0..n * 7).map(|_| draws.normal() as f32).collect();
        let labels = (0..n).map(|_| draws.below(6) as u32).collect();
        Labelled::normalized(7, features, labels)
    };
    let (train, val) = (rows(COLUMNS + 77), rows(ROWS + 5));
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
    let near = nearest(&train, &[0.6, 0.8], 10);
    assert_eq!(near[0].iter().map(|one| one.1).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    let val = Labelled::normalized(2, vec![1.0, 1.0], vec![1]);
    let accuracies = classify(&train, &val, &[10, 200], 0.07);
    assert_eq!(accuracies.iter().map(|a| a.top1).collect::<Vec<_>>(), [100.0, 0.0]);
}

#[test]
fn the_largest_of_any_number_of_numbers_is_found() {
    for count in [1, 15, 16, 17, 64] {
        let numbers: Vec<f32> = (0..count).map(|i| ((i * 7) % count) as f32 - 100.0).collect();
        let expected = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(largest(&numbers), expected, "{count}");
    }
}

#[test]
fn fewer_rows_than_neighbours_all_vote() {
    let one = Labelled::normalized(2, vec![1.0, 0.0], vec![0]);
    assert_eq!(classify(&one, &one, &[200], 0.07), [Accuracy { k: 200, top1: 100.0, top5: 100.0 }]);
}
