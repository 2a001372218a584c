//! What a trained network is worth: features of pictures, and the published ways of judging them.
//!
//! ```text
//! subject    a run's folder or a file of weights, as the network that is judged
//! dataset    an argument as the pictures that it means
//! view       how a picture is shown
//! features   what a network makes of pictures
//! knn        votes of nearest neighbours
//! low_shot   a part of the labels
//! attention  where a network looks
//! ```

pub mod attention;
pub mod dataset;
pub mod feature_file;
pub mod features;
pub mod knn;
pub mod low_shot;
pub mod subject;
pub mod view;
