//! Where the host stages' work reaches the island.

use std::time::Instant;

use super::channel::Stopped;
use super::firing::{Firing, Run};
use super::host::{Bundle, Feed};
use super::island::{Done, Island};
use super::later::Later;
use super::stage::{Moment, Value};
use super::trace::{Doing, Span};
use crate::kernels::Kernels;
use crate::plan::{EdgeId, NodeId, Place};
use crate::tensor::Batched;
use crate::tensor::allocator::{self, Allocated};

impl<D: Kernels> Island<'_, D> {
    /// Waits until what the host stages give this firing is there.
    pub(super) fn await_pictures(
        &mut self,
        firing: &Firing,
        at: &Moment,
        feed: &mut dyn Feed<D>,
        done: &mut Done,
    ) -> Result<(), Stopped> {
        let plan = self.run.plan;
        for arrival in 0..self.arrivals.len() {
            let (host, mut count) = self.arrivals[arrival];
            let feeds = |edge: &EdgeId| plan.edges[edge.0].from.node == host;
            if !firing.inputs.iter().flatten().any(feeds) {
                continue;
            }
            // a stage at step rate sees all micro-batches
            let per_step = self.run.per_step(plan.nodes[host.0].rate);
            let needed = if at.micros == 1 { per_step } else { at.micro + 1 };
            while count < needed {
                let start = Instant::now();
                let bundle = feed.next(arrival, at.step * per_step as u64 + count as u64, &mut self.track)?;
                let end = Instant::now();
                done.data_wait += end - start;
                self.track.span(|| Span {
                    doing: Doing::Waiting,
                    step: at.step,
                    start,
                    end,
                    allocated: Allocated::default(),
                });
                self.arrive(host, Moment { micro: count, ..*at }, bundle)?;
                count += 1;
            }
            self.arrivals[arrival].1 = count;
        }
        Ok(())
    }

    /// Starts what a host stage has left to be started here.
    fn make(&mut self, firing: &Firing, at: &Moment, later: &Later<D>) -> Result<Batched<D>, Stopped> {
        let (start, before) = (Instant::now(), allocator::here());
        let made = self.run.guarded(firing.actor, at.step, || later.make());
        let (end, allocated) = (Instant::now(), allocator::here() - before);
        self.track.span(|| Span { doing: Doing::Firing(firing.actor), step: at.step, start, end, allocated });
        made
    }

    fn arrive(&mut self, host: NodeId, at: Moment, bundle: Bundle<D>) -> Result<(), Stopped> {
        let plan = self.run.plan;
        let firing = Firing::forward(plan, host);
        let island = |edge: &&EdgeId| plan.nodes[plan.edges[edge.0].to.node.0].place == Place::Island;
        for (value, edges) in bundle.into_iter().zip(&firing.outputs) {
            let value = match value {
                Some(Value::Later(later)) => Some(Value::Tensor(self.make(&firing, &at, &later)?)),
                value => value,
            };
            for edge in edges.iter().filter(island) {
                let Some(value) = value.clone() else { continue };
                let put = self.slots[edge.0].put(&self.device, at.micro, value);
                put.map_err(|e| self.run.fail(self.run.name(firing.actor), at.step, e))?;
            }
        }
        Ok(())
    }
}

/// Host nodes with a wire into the island.
pub fn feeders(run: &Run<'_>) -> Vec<NodeId> {
    let plan = run.plan;
    let feeds = |node: &&NodeId| {
        plan.edges.iter().any(|e| e.from.node == **node && plan.nodes[e.to.node.0].place == Place::Island)
    };
    plan.host.iter().filter(feeds).copied().collect()
}
