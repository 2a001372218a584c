//! The part of a map that holds a share of all attention (`visualize_attention.py`: `--threshold`).

/// Which cells hold `share` of a map's mass (0.6 in the paper's figure): the largest, as many as it takes; of equals the earlier first.
pub fn most(map: &[f32], share: f64) -> Vec<bool> {
    let mass = |value: f32| f64::from(value.max(0.0));
    let mut order: Vec<usize> = (0..map.len()).collect();
    order.sort_by(|&a, &b| map[b].total_cmp(&map[a]).then(a.cmp(&b)));
    let total: f64 = map.iter().map(|&value| mass(value)).sum();
    let mut kept = vec![false; map.len()];
    let mut held = 0.0;
    for cell in order {
        if held >= share * total {
            break;
        }
        kept[cell] = true;
        held += mass(map[cell]);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::most;

    #[test]
    fn the_largest_cells_hold_the_share() {
        let check = |map: &[f32], share, expected: &[usize]| {
            let kept = most(map, share);
            let cells: Vec<usize> = (0..map.len()).filter(|&cell| kept[cell]).collect();
            assert_eq!(cells, expected, "{map:?} {share}");
        };
        check(&[0.1, 0.5, 0.2, 0.2], 0.6, &[1, 2]);
        check(&[0.1, 0.5, 0.2, 0.2], 0.4, &[1]);
        check(&[0.25; 4], 0.5, &[0, 1]);
        check(&[0.25; 4], 1.0, &[0, 1, 2, 3]);
        check(&[0.25; 4], 0.0, &[]);
        check(&[], 0.6, &[]);
    }
}
