//! What a trained network is worth: features of labelled pictures and votes among neighbours.

pub mod features;
pub mod knn;
