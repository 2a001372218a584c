//! Networks: compile-time-shaped modules of typed dfdx parameters, and the one place that turns a name into a type.
pub mod architectures;
pub mod backbone;
pub mod batch_norm;
pub mod head;
pub mod layers;
pub mod model;
pub mod network;
pub mod parameter;
pub mod predictor;
pub mod resnet;
pub mod statistics;
pub mod stem;
pub mod vit;
pub mod weights;
