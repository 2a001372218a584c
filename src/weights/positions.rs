//! Position embeddings as files lay them out, and for pictures of another size.

use serde_json::Value;

use super::error::Cause;
use super::report::Reshaped;
use crate::graph::spec::{Backbone, NetworkSpec, VitSpec};
use crate::kernels::cpu::position::interpolate;
use crate::runtime::stage::{SavedTensor, State};

const KEY: &str = "backbone.pos_embed";
/// The most numbers that position embeddings are laid out to: 512 MiB.
const LARGEST: usize = 1 << 27;
const REGISTERS: &str = "backbone.register_tokens";

/// How timm's position embeddings differ from ours, which are the CLS token's and the patches'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Registers have some too, between the two: they are added to the registers.
    Registers(usize),
    /// The CLS token has none (`no_embed_class`): zero.
    WithoutClass,
}

/// What settings beside a file of timm's say of its position embeddings, where they say it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    /// Whether the CLS token has none.
    pub no_embed_class: Option<bool>,
    /// The pictures' height and width in pixels.
    pub image: Option<(u64, u64)>,
}

impl Said {
    /// What `model_args` in timm's `config.json` say.
    pub fn timm(config: &Value) -> Said {
        let said = |key: &str| config.get("model_args").and_then(|given| given.get(key));
        let image = said("img_size").and_then(|size| match size {
            Value::Array(sides) => Some((sides.first()?.as_u64()?, sides.get(1)?.as_u64()?)),
            side => Some((side.as_u64()?, side.as_u64()?)),
        });
        Said { no_embed_class: said("no_embed_class").and_then(Value::as_bool), image }
    }

    /// Holds the pictures' size against what the position embeddings came to.
    ///
    /// # Errors
    /// When they are for pictures of another.
    pub fn hold(self, network: &NetworkSpec) -> Result<(), Cause> {
        let (Some((vit, _)), Some(image)) = (network.backbone.vit(), self.image) else { return Ok(()) };
        let found = vit.image as u64;
        if image == (found, found) {
            return Ok(());
        }
        let (height, width) = image;
        let what = format!(
            "img_size is {height} x {width}, the weights' position embeddings are for {found} x {found} pixels"
        );
        Err(Cause::Beside { file: "config.json".into(), what })
    }
}

impl Fold {
    /// What is to be done with so many rows beside so many registers; nothing where they are as ours. Rows of a square number may be
    /// patches alone, and may be the CLS token and a grid that is no square: `no_embed_class` tells, or registers do.
    ///
    /// # Errors
    /// When nothing tells, or the rows are not as is said.
    pub fn of(rows: usize, registers: usize, no_embed_class: Option<bool>) -> Result<Option<Fold>, Cause> {
        let square = |count: usize| count > 0 && count.isqrt().pow(2) == count;
        let patches = registers.checked_add(1).and_then(|others| rows.checked_sub(others));
        let (with, without) = (patches.is_some_and(square), square(rows));
        match no_embed_class {
            Some(true) if without => Ok(Some(Fold::WithoutClass)),
            Some(true) => Err(unclear(rows, "config.json says no_embed_class, and they make no square")),
            _ if with && !(without && no_embed_class.is_none()) => {
                Ok((registers > 0).then_some(Fold::Registers(registers)))
            }
            None if without && !with && registers > 0 => Ok(Some(Fold::WithoutClass)),
            None if without => Err(unclear(
                rows,
                "they are of that many patches and no CLS token, or of the CLS token and a grid that is no square; \
                 config.json beside them with no_embed_class under model_args tells which",
            )),
            // which is judged with the architecture
            _ => Ok(None),
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

fn unclear(rows: usize, why: &str) -> Cause {
    Cause::tensor("pos_embed", format!("{rows} rows: {why}"))
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
    let to = patches(side, patch, width)?;
    let grid = image / patch;
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

/// How many patches of `patch` pixels a side has.
///
/// # Errors
/// When they don't cover it, or position embeddings of this width for all of them would be too many.
fn patches(side: usize, patch: usize, width: usize) -> Result<usize, Cause> {
    if side == 0 || side > 1 << 14 || !side.is_multiple_of(patch) {
        let near = (side.min(1 << 14) as f64 / patch as f64).round().max(1.0) as usize * patch;
        let what = format!(
            "{side} is no size for patches of {patch} pixels: expected a multiple up to 16384, for instance {near}"
        );
        return Err(Cause::Request(what));
    }
    let to = side / patch;
    if (1 + to * to).saturating_mul(width) > LARGEST {
        let what = format!(
            "{side} x {side} pixels are {} patches, more than are written; name a smaller size",
            to * to
        );
        return Err(Cause::Request(what));
    }
    Ok(to)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timms_layouts_come_to_ours() {
        let (class, none) = (Some(Fold::WithoutClass), "config.json says no_embed_class");
        for (rows, registers, said, expected) in [
            (17, 0, None, Ok(None)),
            (17, 0, Some(false), Ok(None)),
            (17, 0, Some(true), Err(none)),
            // 1 + 3 x 5, or 4 x 4
            (16, 0, None, Err("a grid that is no square")),
            (16, 0, Some(true), Ok(class)),
            (16, 0, Some(false), Ok(None)),
            (20, 3, None, Ok(Some(Fold::Registers(3)))),
            (20, 3, Some(true), Err(none)),
            (16, 4, None, Ok(class)),
            // 6 registers and 3 x 3, or 4 x 4
            (16, 6, None, Err("no_embed_class under model_args")),
            (16, 6, Some(false), Ok(Some(Fold::Registers(6)))),
            (16, 6, Some(true), Ok(class)),
            (15, 0, None, Ok(None)),
            (1, 0, None, Err("of that many patches")),
            (16, usize::MAX, Some(false), Ok(None)),
        ] {
            let name = format!("{rows} rows, {registers} registers, {said:?}");
            match (Fold::of(rows, registers, said), expected) {
                (Err(found), Err(words)) => assert!(found.to_string().contains(words), "{name}: {found}"),
                (found, expected) => assert_eq!(found.ok(), expected.ok(), "{name}"),
            }
        }
        let tensor = |dims: [usize; 3], first: f32| {
            let values = (0..dims.iter().product::<usize>()).map(|i| first + i as f32).collect();
            SavedTensor::F32 { dims: dims.to_vec(), values }
        };
        // CLS, two registers, one patch; two numbers each
        let mut state =
            State::from([(KEY.into(), tensor([1, 4, 2], 0.0)), (REGISTERS.into(), tensor([1, 2, 2], 10.0))]);
        Fold::Registers(2).apply(&mut state);
        let values = |key: &str| match &state[key] {
            SavedTensor::F32 { values, .. } => values.clone(),
            SavedTensor::U64 { .. } => Vec::new(),
        };
        assert_eq!(values(KEY), [0.0, 1.0, 6.0, 7.0]);
        assert_eq!(values(REGISTERS), [12.0, 14.0, 16.0, 18.0]);
        assert_eq!(with_registers(&[1, 2, 2], &values(KEY), 1), {
            let values = vec![0.0, 1.0, 0.0, 0.0, 6.0, 7.0];
            SavedTensor::F32 { dims: vec![1, 3, 2], values }
        });
        let mut state = State::from([(KEY.into(), tensor([1, 1, 2], 5.0))]);
        Fold::WithoutClass.apply(&mut state);
        assert_eq!(state[KEY], SavedTensor::F32 { dims: vec![1, 2, 2], values: vec![0.0, 0.0, 5.0, 6.0] });
    }
}
