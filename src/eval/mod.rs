//! What a trained network is worth: features of pictures, and the published ways of judging them.
//!
//! ```text
//! subject    a run's folder or a file of weights, as the network that is judged
//! dataset    an argument as the pictures that it means
//! view       how a picture is shown
//! extractor  a network as protocols ask it, whatever device it lives on
//! features   what a network makes of pictures
//! left_out   pictures that can't be read
//! knn        votes of nearest neighbours
//! low_shot   a part of the labels
//! logistic   a regularised linear classifier, at its optimum
//! linear     a linear classifier by the published protocol
//! finetune   the whole network trained on labels
//! retrieval  how early what was asked for comes
//! copy       whether copies are found among originals
//! video      masks carried through a video
//! attention  where a network looks
//! ```

pub mod attention;
pub mod augmented;
pub mod classifier;
pub mod copy;
pub mod dataset;
pub mod extractor;
pub mod feature_file;
pub mod features;
pub mod finetune;
pub mod knn;
pub mod left_out;
pub mod linear;
pub mod logistic;
pub mod low_shot;
pub mod retrieval;
pub mod subject;
mod symmetric;
pub mod tensor_file;
pub mod video;
pub mod view;
