//! What a trained network is worth: features of labelled pictures and votes among neighbours.

pub mod classifier;
pub mod copy;
pub mod features;
pub mod knn;
pub mod linear;
pub mod logistic;
pub mod retrieval;
mod symmetric;
pub mod tensor_file;
pub mod video;
