//! The island's wires: what lies on an edge between its producer's firings and its consumer's.

use super::convert::{add, join, part};
use super::stage::{StageError, Value};
use crate::kernels::Kernels;
use crate::plan::{BatchPlan, Conversion, EdgeKind, Plan};
use crate::stages::Rate;

/// One edge. A value leaves with its last reading of the step, so that whoever owns it finds itself the only holder.
pub struct Slot<D: Kernels> {
    conversion: Conversion,
    feedback: bool,
    /// Read between steps.
    to_barrier: bool,
    batch: BatchPlan,
    /// Whether the producer, or the consumer, fires once for each micro-batch.
    writes_micro: bool,
    reads_micro: bool,
    /// A place for each of the producer's firings; a sum has one.
    now: Vec<Option<Value<D>>>,
    /// What a feedback wire will carry in the next step.
    next: Vec<Option<Value<D>>>,
}

impl<D: Kernels> Slot<D> {
    /// The slots of a plan's edges, in their order.
    pub fn of(plan: &Plan) -> Vec<Self> {
        let micro = |node: crate::plan::NodeId| plan.nodes[node.0].rate == Rate::Micro;
        let slot = |edge: &crate::plan::PlanEdge| {
            let writes_micro = micro(edge.from.node);
            let one = !writes_micro || edge.conversion == Conversion::Sum;
            let places = if one { 1 } else { plan.batch.micros() };
            let to_barrier = plan.nodes[edge.to.node.0].rate == Rate::Barrier;
            Slot {
                conversion: edge.conversion,
                // between steps the newest value is meant, whatever the wire is called
                feedback: edge.kind == EdgeKind::Feedback && !to_barrier,
                to_barrier,
                batch: plan.batch,
                writes_micro,
                reads_micro: micro(edge.to.node),
                now: (0..places).map(|_| None).collect(),
                next: (0..places).map(|_| None).collect(),
            }
        };
        plan.edges.iter().map(slot).collect()
    }

    /// Takes what the producer gave in firing `micro`.
    pub fn put(&mut self, device: &D, micro: usize, value: Value<D>) -> Result<(), StageError> {
        let bank = if self.feedback { &mut self.next } else { &mut self.now };
        if self.conversion == Conversion::Sum {
            bank[0] = Some(match bank[0].take() {
                Some(sum) => add(device, sum, &value)?,
                None => value,
            });
        } else {
            bank[if self.writes_micro { micro } else { 0 }] = Some(value);
        }
        Ok(())
    }

    /// What the consumer finds in firing `micro`.
    pub fn take(&mut self, micro: usize) -> Result<Option<Value<D>>, StageError> {
        let last = !self.reads_micro || micro + 1 == self.batch.micros();
        match (self.conversion, self.writes_micro, self.reads_micro) {
            (Conversion::Concat { axis }, true, false) => {
                let parts: Vec<_> = self.now.iter_mut().filter_map(Option::take).collect();
                if parts.is_empty() { Ok(None) } else { join(parts, axis).map(Some) }
            }
            (Conversion::Slice { axis }, false, true) => {
                let cut = self.now[0].as_ref().map(|whole| part(whole, axis, self.batch.range(micro)));
                if last {
                    self.now[0] = None;
                }
                cut.transpose()
            }
            (Conversion::Hold, false, true) if !last => Ok(self.now[0].clone()),
            (Conversion::None, true, true) => Ok(self.now[micro].take()),
            (Conversion::None | Conversion::Hold | Conversion::Sum, false, _) => Ok(self.now[0].take()),
            (Conversion::Sum, true, false) => Ok(self.now[0].take()),
            (conversion, _, _) => {
                Err(StageError::Bug(format!("the plan has {conversion:?} where it does not belong")))
            }
        }
    }

    /// The step is committed: a feedback wire moves on, an ordinary one lets go of what nobody read.
    pub fn advance(&mut self) {
        if !self.to_barrier {
            std::mem::swap(&mut self.now, &mut self.next);
        }
        self.next.fill_with(|| None);
    }

    /// Whether what lies here is still wanted after the step's commit.
    pub fn outlives_step(&self) -> bool {
        self.feedback || self.to_barrier
    }

    /// Whether it is read between steps.
    pub fn to_barrier(&self) -> bool {
        self.to_barrier
    }

    /// Whether the producer must give something: not every part of a sum, and before the first step nothing but feedback.
    pub fn needed(&self, first: bool) -> bool {
        self.conversion != Conversion::Sum && (!first || self.feedback)
    }

    /// The token that a feedback wire carries into the next step.
    pub fn token(&self) -> Option<&Value<D>> {
        self.now.first().and_then(Option::as_ref).filter(|_| self.feedback)
    }

    /// Sets that token.
    pub fn set_token(&mut self, value: Value<D>) {
        self.now[0] = Some(value);
    }

    /// Lets go of everything.
    pub fn clear(&mut self) {
        self.now.fill_with(|| None);
    }
}
