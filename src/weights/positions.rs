//! Position embeddings as files lay them out, and for pictures of another size.

use super::error::Cause;
use super::report::Reshaped;
use crate::graph::spec::{Backbone, NetworkSpec, VitSpec};
use crate::kernels::cpu::position::interpolate;
use crate::runtime::stage::{SavedTensor, State};

const KEY: &str = "backbone.pos_embed";
const REGISTERS: &str = "backbone.register_tokens";

/// How timm's position embeddings differ from ours, which are the CLS token's and the patches'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Registers have some too, between the two: they are added to the registers.
    Registers(usize),
    /// The CLS token has none (`no_embed_class`): zero.
    WithoutClass,
}

impl Fold {
    /// What is to be done with so many rows beside so many registers; nothing where they are as ours.
    pub fn of(rows: usize, registers: usize) -> Option<Fold> {
        let square = |count: usize| count > 0 && count.isqrt().pow(2) == count;
        match rows.checked_sub(1 + registers) {
            Some(patches) if square(patches) => (registers > 0).then_some(Fold::Registers(registers)),
            _ if square(rows) => Some(Fold::WithoutClass),
            _ => None,
        }
    }

    /// Rows afterwards.
    pub fn rows(self, rows: usize) -> usize {
        match self {
            Fold::Registers(registers) => rows - registers,
            Fold::WithoutClass => rows + 1,
        }
    }

    /// Brings a state's position embeddings to our layout.
    pub fn apply(self, state: &mut State) -> Option<Reshaped> {
        let Some(SavedTensor::F32 { dims, values }) = state.remove(KEY) else { return None };
        let (rows, width) = (dims[1], dims[2]);
        let (values, how) = match self {
            Fold::WithoutClass => {
                ([vec![0.0; width], values].concat(), "a CLS token without a position has that of zero")
            }
            Fold::Registers(registers) => {
                let (first, rest) = values.split_at(width);
                let (theirs, patches) = rest.split_at(registers * width);
                if let Some(SavedTensor::F32 { values, .. }) = state.get_mut(REGISTERS) {
                    values.iter_mut().zip(theirs).for_each(|(register, position)| *register += position);
                }
                ([first, patches].concat(), "registers' positions were added to the registers")
            }
        };
        let to = vec![1, self.rows(rows), width];
        state.insert(KEY.into(), SavedTensor::F32 { dims: to.clone(), values });
        Some(Reshaped { weight: KEY.into(), from: dims, to, how: how.into() })
    }
}

/// Position embeddings for timm, where registers have some too: zeros, which add nothing.
pub fn with_registers(dims: &[usize], values: &[f32], registers: usize) -> SavedTensor {
    let width = dims[2];
    let (first, patches) = values.split_at(width);
    let values = [first, &vec![0.0; registers * width], patches].concat();
    SavedTensor::F32 { dims: vec![1, dims[1] + registers, width], values }
}

/// Lays a network's position embeddings out for square pictures of `side` pixels, by DINO's own interpolation, once for all. What else
/// would be interpolated at each use, by every program in its own way, then isn't.
///
/// # Errors
/// When the network has none, or its patch does not divide the side.
pub fn resize(network: &mut NetworkSpec, state: &mut State, side: usize) -> Result<Option<Reshaped>, Cause> {
    let (patch, image, width) = match network.backbone.vit() {
        Some((vit, shape)) => (vit.patch, vit.image, shape.width),
        None => {
            return Err(Cause::Request(
                "a residual network takes pictures of any size: leave --size out".into(),
            ));
        }
    };
    if side == 0 || side > 1 << 14 || !side.is_multiple_of(patch) {
        let near = (side.min(1 << 14) as f64 / patch as f64).round().max(1.0) as usize * patch;
        let what = format!(
            "{side} is no size for patches of {patch} pixels: expected a multiple up to 16384, for instance {near}"
        );
        return Err(Cause::Request(what));
    }
    let (grid, to) = (image / patch, side / patch);
    if grid == to {
        return Ok(None);
    }
    let Some(SavedTensor::F32 { dims, values }) = state.get_mut(KEY) else {
        return Err(Cause::Missing { network: network.backbone.label(), keys: vec![KEY.into()] });
    };
    let mut out = vec![0.0; (1 + to * to) * width];
    interpolate(grid, grid, to, to, width, values, &mut out);
    let reshaped = Reshaped {
        weight: KEY.into(),
        from: std::mem::replace(dims, vec![1, 1 + to * to, width]),
        to: dims.clone(),
        how: format!("interpolated from pictures of {image} pixels to {side}"),
    };
    *values = out;
    if let Some(vit) = spec(&mut network.backbone) {
        vit.image = side;
    }
    Ok(Some(reshaped))
}

fn spec(backbone: &mut Backbone) -> Option<&mut VitSpec> {
    match backbone {
        Backbone::VitMicro(vit)
        | Backbone::VitTiny(vit)
        | Backbone::VitSmall(vit)
        | Backbone::VitBase(vit) => Some(vit),
        Backbone::ResNet18(_) | Backbone::ResNet50(_) => None,
    }
}
