//! The vision transformer (Dosovitskiy et al. 2020) as DINO uses it: width, depth, heads and patch known at compile time.

use dfdx::prelude::{Const, HasShape, Merge, PutTape, ReshapeTo, SplitTape, Tape, Tensor};

use super::backbone::{Backbone, Features, Pass};
use super::layers::{Block, LayerNorm};
use super::network::DropPath;
use super::parameter::{Mut, Parameter, Parameters, Ref};
use super::stem::Stem;
use crate::graph::spec::{Recompute, VitSpec};
use crate::kernels::{Kernels, Products};
use crate::ops::{self, BlockPass, Grid, Survivors, Trunk};
use crate::tensor::{Batched, Device, Float};

/// Pixels to tokens. Keys: `cls_token`, `pos_embed`, `register_tokens`, `patch_embed.…` for the stem.
#[derive(Clone, Debug)]
pub struct PatchEmbed<const W: usize, const P: usize, D: Device> {
    pub cls_token: Tensor<(Const<W>,), Float, D>,
    /// CLS first, then the grid row by row.
    pub pos_embed: Tensor<(usize, Const<W>), Float, D>,
    /// Between CLS and patches, without positions (Darcet et al. 2023); none where there are no registers.
    pub registers: Option<Tensor<(usize, Const<W>), Float, D>>,
    pub stem: Stem<W, P, D>,
}

impl<const W: usize, const P: usize, D: Device> PatchEmbed<W, P, D> {
    /// How many registers there are.
    pub fn registers(&self) -> usize {
        self.registers.as_ref().map_or(0, |registers| registers.shape().0)
    }
}

fn named<T>(prefix: &str, name: &str, dims: Vec<usize>, tensor: T) -> Parameter<T> {
    Parameter { name: format!("{prefix}{name}"), dims, fixed: false, tensor }
}

/// Both listings are one text.
macro_rules! embed_list {
    ($this:ident, $prefix:ident, $to:ident, $list:ident, $as:ident, $($ref:tt)+) => {{
        let (positions, registers) = ($this.pos_embed.shape().0, $this.registers());
        $to.push(named($prefix, "cls_token", vec![1, 1, W], $($ref)+ $this.cls_token));
        $to.push(named($prefix, "pos_embed", vec![1, positions, W], $($ref)+ $this.pos_embed));
        if let Some(tensor) = $this.registers.$as() {
            $to.push(named($prefix, "register_tokens", vec![1, registers, W], tensor));
        }
        $this.stem.$list(&format!("{}patch_embed.", $prefix), $to);
    }};
}

impl<const W: usize, const P: usize, D: Device> Parameters<D> for PatchEmbed<W, P, D> {
    fn list<'a>(&'a self, prefix: &str, to: &mut Vec<Ref<'a, D>>) {
        embed_list!(self, prefix, to, list, as_ref, &);
    }

    fn list_mut<'a>(&'a mut self, prefix: &str, to: &mut Vec<Mut<'a, D>>) {
        embed_list!(self, prefix, to, list_mut, as_mut, &mut);
    }
}

/// A vision transformer of width `W`, `DEPTH` blocks, `HEADS` heads, on patches of `P` × `P` pixels.
///
/// Two widths do not mix; the compiler sees to it. Tokens of width 384 go through a block of that width:
///
/// ```
/// use dfdx::prelude::{Const, Cpu, Tensor, ZerosTensor};
/// use dinoflow::{nn::layers::Block, ops::Trunk};
/// let cpu = Cpu::default();
/// let tokens: Tensor<(usize, usize, Const<384>), f32, Cpu> = cpu.zeros_like(&(1, 1, Const));
/// let (mut trunk, _) = Trunk::enter(tokens);
/// let small: Block<384, 6, Cpu> = Block::zeros(&cpu).unwrap();
/// # use dinoflow::{graph::spec::Recompute, kernels::Products, ops::BlockPass};
/// # let (products, recompute) = (Products::F32, Recompute::Nothing);
/// # let pass = BlockPass { queries: 1, survivors: [None, None], products, recompute };
/// assert!(trunk.pass(&small, pass).is_ok());
/// ```
///
/// and those of width 192 do not compile:
///
/// ```compile_fail,E0308
/// use dfdx::prelude::{Const, Cpu, Tensor, ZerosTensor};
/// use dinoflow::{nn::layers::Block, ops::Trunk};
/// let cpu = Cpu::default();
/// let tokens: Tensor<(usize, usize, Const<192>), f32, Cpu> = cpu.zeros_like(&(1, 1, Const));
/// let (mut trunk, _) = Trunk::enter(tokens);
/// let small: Block<384, 6, Cpu> = Block::zeros(&cpu).unwrap();
/// # use dinoflow::{graph::spec::Recompute, kernels::Products, ops::BlockPass};
/// # let (products, recompute) = (Products::F32, Recompute::Nothing);
/// # let pass = BlockPass { queries: 1, survivors: [None, None], products, recompute };
/// assert!(trunk.pass(&small, pass).is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct Vit<const W: usize, const DEPTH: usize, const HEADS: usize, const P: usize, D: Device> {
    pub embed: PatchEmbed<W, P, D>,
    pub blocks: [Block<W, HEADS, D>; DEPTH],
    pub norm: LayerNorm<W, D>,
    /// The grid that the position embeddings are laid out for.
    pub grid: Grid,
    /// The precision of products and activations.
    pub products: Products,
    /// What of its blocks a traced pass leaves to its backward half to compute again.
    pub recompute: Recompute,
}

impl<const W: usize, const DEPTH: usize, const HEADS: usize, const P: usize, D: Device> Parameters<D>
    for Vit<W, DEPTH, HEADS, P, D>
{
    fn list<'a>(&'a self, prefix: &str, to: &mut Vec<Ref<'a, D>>) {
        self.embed.list(prefix, to);
        for (i, block) in self.blocks.iter().enumerate() {
            block.list(&format!("{prefix}blocks.{i}."), to);
        }
        self.norm.list(&format!("{prefix}norm."), to);
    }

    fn list_mut<'a>(&'a mut self, prefix: &str, to: &mut Vec<Mut<'a, D>>) {
        self.embed.list_mut(prefix, to);
        for (i, block) in self.blocks.iter_mut().enumerate() {
            block.list_mut(&format!("{prefix}blocks.{i}."), to);
        }
        self.norm.list_mut(&format!("{prefix}norm."), to);
    }
}

impl<const W: usize, const DEPTH: usize, const HEADS: usize, const P: usize, D: Kernels>
    Vit<W, DEPTH, HEADS, P, D>
{
    /// All parameters zero.
    pub fn zeros(
        device: &D,
        spec: &VitSpec,
        products: Products,
        recompute: Recompute,
    ) -> Result<Self, D::Err> {
        let (side, stem) = (spec.image / P, spec.stem);
        let grid = Grid { height: side, width: side };
        let pos_embed = device.try_zeros_like(&(1 + grid.patches(), Const::<W>))?;
        let registers = match spec.registers {
            0 => None,
            count => Some(device.try_zeros_like(&(count, Const::<W>))?),
        };
        let (cls_token, stem) = (device.try_zeros()?, Stem::zeros(device, stem)?);
        let embed = PatchEmbed { cls_token, pos_embed, registers, stem };
        let blocks = (0..DEPTH)
            .map(|_| Block::zeros(device))
            .collect::<Result<Vec<_>, _>>()?
            .try_into()
            .unwrap_or_else(
                |_| unreachable!("exactly DEPTH blocks were collected"), // the range has DEPTH members
            );
        Ok(Vit { embed, blocks, norm: LayerNorm::zeros(device)?, grid, products, recompute })
    }

    /// The CLS row of a block's tokens after the last norm, as if no block followed; never traced.
    fn normed_cls(
        &self,
        device: &D,
        x: &ops::Stream<W, D>,
    ) -> Result<Tensor<(usize, Const<W>), Float, D>, D::Err> {
        let cls = x.first_tokens(device)?;
        let images = cls.shape().0;
        let normed = ops::layer_norm(cls.try_reshape_like(&(images, 1, Const::<W>))?, &self.norm)?;
        normed.try_reshape_like(&(images, Const::<W>))
    }

    /// Who survives in one group under stochastic depth (Huang et al. 2016): each branch of block i drops an image with
    /// probability rate · i / (DEPTH - 1) and divides what stays by the probability of staying.
    pub fn drops(
        drop_path: Option<DropPath>,
        first_view: usize,
        size: (usize, usize),
    ) -> Vec<[Option<Survivors>; 2]> {
        let Some(drop_path) = drop_path.filter(|d| d.rate > 0.0) else { return Vec::new() };
        let of = |block| [0, 1].map(|branch| drop_path.survivors(block, DEPTH, branch, first_view, size));
        (0..DEPTH).map(of).collect()
    }
}

impl<const W: usize, const DEPTH: usize, const HEADS: usize, const P: usize, D: Kernels> Backbone<W, D>
    for Vit<W, DEPTH, HEADS, P, D>
{
    /// The last block runs for the CLS row alone unless patches are asked: the CLS is the same either way.
    fn forward<T: Tape<Float, D> + Merge<T>>(
        &self,
        images: &Batched<D>,
        pass: &mut Pass<'_, D>,
        tape: T,
    ) -> Result<Features<W, D, T>, D::Err> {
        let (asked, size) = (pass.asked, (images.dims[0], images.dims[1]));
        let drops = Self::drops(pass.drop_path, pass.first_view, size);
        let x = ops::embed(images, &self.embed, self.grid, self.products, tape)?;
        let device = x.device().clone();
        let (mut trunk, tape) = Trunk::enter(x);
        let (mut attention, mut blocks, registers) = (None, Vec::new(), self.embed.registers());
        for (i, block) in self.blocks.iter().enumerate() {
            let last = i + 1 == DEPTH;
            if last && asked.attention {
                let x = trunk.stream();
                let all = ops::cls_attention(&device, x, &block.norm1, &block.attn, self.products)?;
                let (tokens, images) = (x.tokens(), x.images());
                let flat = ops::without_tokens(all, (images * HEADS, tokens, 1), 1, registers)?;
                let dims = vec![size.0, size.1, HEADS, tokens - registers];
                attention = Some(Batched { flat, dims, batch: Some(1) });
            }
            let queries = if last && !asked.patches { 1 } else { trunk.stream().tokens() };
            let survivors = drops.get(i).map_or([None, None], |d| [d[0].as_ref(), d[1].as_ref()]);
            let (products, recompute) = (self.products, self.recompute);
            trunk.pass(block, BlockPass { queries, survivors, products, recompute })?;
            if i + asked.last_blocks >= DEPTH {
                blocks.push(self.normed_cls(&device, trunk.stream())?);
            }
        }
        let x = ops::layer_norm(trunk.leave(tape)?, &self.norm)?;
        if !asked.patches {
            return Ok(Features { cls: ops::first_token(x)?, tokens: None, attention, blocks });
        }
        let (plain, tape) = x.split_tape();
        let (images, tokens, _) = *plain.shape();
        let flat = plain.clone().try_reshape_like(&(images * tokens * W,))?;
        let kept = ops::without_tokens(flat, (images, tokens, W), 1, registers)?;
        let tokens = Some(kept.try_reshape_like(&(images, tokens - registers, Const::<W>))?);
        Ok(Features { cls: ops::first_token(plain.put_tape(tape))?, tokens, attention, blocks })
    }
}

#[cfg(test)]
mod tests;
