//! Numbering classes that are written as text.

use std::collections::BTreeSet;

/// Largest class number that is taken as one; larger ones are identifiers.
const LARGEST_NUMBER: u32 = 999_999;

/// Labels and class names from what stands beside each image. When all of it is whole numbers, a number is its own
/// label, so that two lists with different classes missing agree; else names are numbered in byte order.
pub fn number(written: &[Option<String>]) -> (Vec<Option<u32>>, Vec<String>) {
    let as_number = |text: &str| text.parse::<u32>().ok().filter(|&n| n <= LARGEST_NUMBER);
    let given = || written.iter().flatten();
    if given().all(|text| as_number(text).is_some()) {
        let labels: Vec<_> = written.iter().map(|text| text.as_deref().and_then(as_number)).collect();
        let classes = labels.iter().flatten().max().map_or(0, |most| most + 1);
        return (labels, (0..classes).map(|n| n.to_string()).collect());
    }
    by_name(written)
}

/// Labels and class names, numbered in byte order of the names.
pub fn by_name(written: &[Option<String>]) -> (Vec<Option<u32>>, Vec<String>) {
    let names: BTreeSet<&String> = written.iter().flatten().collect();
    let classes: Vec<String> = names.into_iter().cloned().collect();
    let label = |name: &String| classes.binary_search(name).ok().map(|at| at as u32);
    (written.iter().map(|name| name.as_ref().and_then(label)).collect(), classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &[&str], labels: &[Option<u32>], classes: &[&str]) {
        let written: Vec<_> = written.iter().map(|s| (!s.is_empty()).then(|| s.to_string())).collect();
        assert_eq!(number(&written), (labels.to_vec(), classes.iter().map(|s| s.to_string()).collect()));
    }

    #[test]
    fn numbers_are_labels_and_names_are_numbered() {
        check(&["2", "0", ""], &[Some(2), Some(0), None], &["0", "1", "2"]);
        check(&["cat", "", "ant", "cat"], &[Some(1), None, Some(0), Some(1)], &["ant", "cat"]);
        check(&["3", "cat"], &[Some(0), Some(1)], &["3", "cat"]);
        check(&["40000000", "5"], &[Some(0), Some(1)], &["40000000", "5"]);
        check(&["", ""], &[None, None], &[]);
    }
}
