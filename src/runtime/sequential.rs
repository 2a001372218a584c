//! Host stages on the island's own thread: nothing runs ahead, and one debugs here.

use std::collections::HashMap;

use super::arrivals::feeders;
use super::build::Build;
use super::channel::Stopped;
use super::firing::{Firing, Run};
use super::host::{Bundle, Feed, HostNode};
use super::stage::Stage;
use super::trace::Track;
use crate::kernels::Kernels;
use crate::plan::NodeId;

/// Pulls each micro-batch through the host stages when the island asks for it.
pub struct Sequential<'a, D: Kernels> {
    run: &'a Run<'a>,
    pub(super) hosts: Vec<HostNode>,
    /// By node.
    stages: HashMap<NodeId, Box<dyn Stage<D>>>,
    feeders: Vec<NodeId>,
    /// What a node with several consumers gave, until the last of them has it.
    pub(super) shared: HashMap<(NodeId, u64), (Bundle<D>, usize)>,
}

impl<'a, D: Kernels> Sequential<'a, D> {
    /// Builds every host stage once.
    pub fn new(run: &'a Run<'a>, build: &dyn Build<D>) -> Result<Self, Stopped> {
        let fail = |e| run.fail("plan".into(), run.steps.start, super::fault::Cause::Error(e));
        let hosts = HostNode::of(run).map_err(fail)?;
        let mut stages = HashMap::new();
        for host in &hosts {
            let actor = Firing::forward(run.plan, host.node).actor;
            stages.insert(host.node, run.guarded(actor, run.steps.start, || build.build(host.node))?);
        }
        Ok(Sequential { run, hosts, stages, feeders: feeders(run), shared: HashMap::new() })
    }

    pub(super) fn produce(
        &mut self,
        node: NodeId,
        ticket: u64,
        track: &mut Track<'_>,
    ) -> Result<Bundle<D>, Stopped> {
        if let Some((bundle, left)) = self.shared.remove(&(node, ticket)) {
            if left > 1 {
                self.shared.insert((node, ticket), (bundle.clone(), left - 1));
            }
            return Ok(bundle);
        }
        // feeders and producers are host nodes of the plan, so both are found
        let Some(host) = self.hosts.iter().find(|host| host.node == node).cloned() else {
            return Err(Stopped);
        };
        let mut bundles = Vec::new();
        for &(producer, ratio) in &host.producers {
            let tickets = ticket * ratio as u64..(ticket + 1) * ratio as u64;
            let of: Result<Vec<_>, _> = tickets.map(|ticket| self.produce(producer, ticket, track)).collect();
            bundles.push(of?);
        }
        let Some(stage) = self.stages.get_mut(&node) else { return Err(Stopped) };
        let bundle = host.fire(self.run, track, stage.as_mut(), ticket, bundles)?;
        let consumers = host.consumers.len() + usize::from(host.feeds_island);
        if consumers > 1 {
            self.shared.insert((node, ticket), (bundle.clone(), consumers - 1));
        }
        Ok(bundle)
    }
}

impl<D: Kernels> Feed<D> for Sequential<'_, D> {
    fn next(&mut self, arrival: usize, ticket: u64, track: &mut Track<'_>) -> Result<Bundle<D>, Stopped> {
        self.produce(self.feeders[arrival], ticket, track)
    }
}
