//! How a value crosses between micro-batches and the whole batch.

use super::{BatchPlan, Conversion};
use crate::stages::{Batch, EdgeType, Rate};

/// What happens to a value of this type from a producer to a consumer of these rates, and its type afterwards.
pub fn conversion(ty: &EdgeType, producer: Rate, consumer: Rate, batch: BatchPlan) -> (Conversion, EdgeType) {
    let axis = match ty {
        EdgeType::Tensor { batch: Some((axis, _)), .. } => Some(*axis),
        _ => None,
    };
    match (producer, consumer, axis) {
        (Rate::Micro, Rate::Step, Some(axis)) => {
            (Conversion::Concat { axis }, resized(ty, batch.global, Batch::Whole))
        }
        (Rate::Micro, Rate::Step, None) => (Conversion::Sum, ty.clone()),
        (Rate::Step, Rate::Micro, Some(axis)) => {
            (Conversion::Slice { axis }, resized(ty, batch.micro, Batch::Micro))
        }
        (Rate::Step, Rate::Micro, None) => (Conversion::Hold, ty.clone()),
        _ => (Conversion::None, ty.clone()),
    }
}

fn resized(ty: &EdgeType, images: usize, span: Batch) -> EdgeType {
    let EdgeType::Tensor { dims, batch: Some((axis, _)) } = ty else { return ty.clone() };
    let mut dims = dims.clone();
    if let Some(dim) = dims.get_mut(*axis) {
        *dim = images;
    }
    EdgeType::Tensor { dims, batch: Some((*axis, span)) }
}
