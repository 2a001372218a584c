//! How the numbers of some tensors are spread, in buckets of equal width.

use super::message::HistogramProto;

/// Buckets at most; TensorBoard draws thirty.
const BUCKETS: usize = 30;

/// The spread of all numbers that are finite; none where there are none.
pub fn histogram(tensors: &[&[f32]]) -> Option<HistogramProto> {
    let numbers = || tensors.iter().flat_map(|part| part.iter()).filter(|value| value.is_finite());
    let (mut min, mut max, mut num, mut sum, mut sum_squares) =
        (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0.0, 0.0);
    for value in numbers() {
        let value = f64::from(*value);
        (min, max) = (value.min(min), value.max(max));
        (num, sum, sum_squares) = (num + 1.0, sum + value, sum_squares + value * value);
    }
    if num == 0.0 {
        return None;
    }
    let buckets = if max > min { BUCKETS } else { 1 };
    let width = (max - min) / buckets as f64;
    let mut bucket = vec![0.0; buckets];
    for value in numbers() {
        let place = (f64::from(*value) - min) / width;
        // the greatest number belongs into the last bucket, and the only one into the only one
        bucket[(place as usize).min(buckets - 1)] += 1.0;
    }
    let end = |index: usize| if index + 1 == buckets { max } else { min + width * (index + 1) as f64 };
    let bucket_limit = (0..buckets).map(end).collect();
    Some(HistogramProto { min, max, num, sum, sum_squares, bucket_limit, bucket })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_its_bucket() {
        let even: Vec<f32> = (0..=60).map(|index| index as f32).collect();
        let found = histogram(&[&even[..20], &[f32::NAN], &even[20..]]).unwrap();
        assert_eq!((found.min, found.max, found.num, found.sum), (0.0, 60.0, 61.0, 1830.0));
        assert_eq!(found.sum_squares, even.iter().map(|v| f64::from(v * v)).sum::<f64>());
        assert_eq!((found.bucket.len(), found.bucket[0], found.bucket[BUCKETS - 1]), (BUCKETS, 2.0, 3.0));
        assert_eq!((found.bucket_limit[0], found.bucket_limit[BUCKETS - 1]), (2.0, 60.0));
        let same = histogram(&[&[0.5, 0.5]]).unwrap();
        assert_eq!((same.bucket_limit, same.bucket), (vec![0.5], vec![2.0]));
        assert_eq!(histogram(&[&[], &[f32::INFINITY]]), None);
    }
}
