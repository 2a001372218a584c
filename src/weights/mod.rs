//! w
mod error;
pub mod pickle;
mod safetensors;
pub mod tensors;
pub mod torch;
