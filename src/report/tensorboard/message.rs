//! The messages of an event file, under the field numbers of TensorBoard's `event.proto` and `summary.proto`: those alone that are
//! written.

use prost::{Message, Oneof};

/// The version that a file begins with.
pub const VERSION: &str = "brain.Event:2";

/// One thing that happened.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    #[prost(int64, tag = "2")]
    pub step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// What happened.
#[derive(Clone, PartialEq, Oneof)]
pub enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// Some values of a step.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// A value under its name.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(string, tag = "1")]
    pub tag: String,
    #[prost(oneof = "Kind", tags = "2, 4, 5")]
    pub kind: Option<Kind>,
}

/// The kinds of values.
#[derive(Clone, PartialEq, Oneof)]
pub enum Kind {
    #[prost(float, tag = "2")]
    Scalar(f32),
    #[prost(message, tag = "4")]
    Image(Image),
    #[prost(message, tag = "5")]
    Histogram(HistogramProto),
}

/// A picture.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    #[prost(int32, tag = "1")]
    pub height: i32,
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// 3: red, green and blue.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    /// A PNG file's bytes.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded_image_string: Vec<u8>,
}

/// How numbers are spread.
#[derive(Clone, PartialEq, Message)]
pub struct HistogramProto {
    #[prost(double, tag = "1")]
    pub min: f64,
    #[prost(double, tag = "2")]
    pub max: f64,
    #[prost(double, tag = "3")]
    pub num: f64,
    #[prost(double, tag = "4")]
    pub sum: f64,
    #[prost(double, tag = "5")]
    pub sum_squares: f64,
    /// Where each bucket ends, in rising order.
    #[prost(double, repeated, tag = "6")]
    pub bucket_limit: Vec<f64>,
    /// Numbers in each.
    #[prost(double, repeated, tag = "7")]
    pub bucket: Vec<f64>,
}

/// The life of a run.
#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// [`START`] alone: what earlier files have of this step and later ones no longer counts.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// The status of a beginning.
pub const START: i32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes are those of tensorboard's own messages with the same values.
    #[test]
    fn messages_are_tensorboards() {
        let check = |step: i64, what: What, expected: &str| {
            let bytes = Event { wall_time: 1.5, step, what: Some(what) }.encode_to_vec();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
        };
        check(0, What::FileVersion(VERSION.into()), "09000000000000f83f1a0d627261696e2e4576656e743a32");
        check(7, What::SessionLog(SessionLog { status: START }), "09000000000000f83f10073a020801");
        let value = |tag: &str, kind| Value { tag: tag.into(), kind: Some(kind) };
        let histogram = HistogramProto {
            min: -1.0,
            max: 2.0,
            num: 3.0,
            sum: 1.0,
            sum_squares: 5.0,
            bucket_limit: vec![0.0, 2.0],
            bucket: vec![1.0, 2.0],
        };
        let image = Image { height: 2, width: 3, colorspace: 3, encoded_image_string: b"png".into() };
        let values = vec![
            value("loss", Kind::Scalar(0.5)),
            value("h", Kind::Histogram(histogram)),
            value("i", Kind::Image(image)),
        ];
        let expected = concat!(
            "09000000000000f83f10072a770a0b0a046c6f7373150000003f0a560a01682a5109000000000000f0bf1100000000000000401900000000",
            "0000084021000000000000f03f2900000000000014403210000000000000000000000000000000403a10000000000000f03f000000000000",
            "00400a100a0169220b0802100318032203706e67"
        );
        check(7, What::Summary(Summary { value: values }), expected);
    }
}
