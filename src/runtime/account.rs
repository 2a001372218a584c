//! What a run's time went into, from the meters and gauges that its threads share.

use std::time::Duration;

use super::drive::Reached;
use super::fault::lock;
use super::firing::Run;
use crate::plan::{Place, PlanNode};
use crate::report::tables::{ChannelUse, Placed, StageTime, Summary};
use crate::stages::Rate;

/// Where the time went so far: `wall` since the run's first barrier, on so many threads.
pub fn summary(run: &Run<'_>, threads: usize, reached: &Reached, wall: Duration) -> Summary {
    let gauges = lock(&run.gauges).clone();
    let halves = run.plan.nodes.iter().zip(&run.meters).flat_map(|(node, [forward, backward])| {
        [(node, node.name.clone(), forward), (node, format!("{}/backward", node.name), backward)]
    });
    let stages = halves.filter(|(_, _, meter)| meter.firings() > 0).map(|(node, name, meter)| StageTime {
        name,
        place: placed(node),
        workers: node.place.workers(threads),
        firings: meter.firings(),
        busy: meter.busy(),
        waited: gauges.iter().fold(Duration::ZERO, |sum, gauge| {
            let received = if gauge.to == node.name { gauge.receive_wait() } else { Duration::ZERO };
            let sent = if gauge.from == node.name { gauge.send_wait() } else { Duration::ZERO };
            sum + received + sent
        }),
    });
    let channels = gauges.iter().map(|gauge| ChannelUse {
        from: gauge.from.clone(),
        to: gauge.to.clone(),
        capacity: gauge.capacity,
        values: gauge.count(),
        occupancy: gauge.occupancy(),
        fullest: gauge.fullest(),
        send_wait: gauge.send_wait(),
        receive_wait: gauge.receive_wait(),
    });
    let steps = reached.step - run.steps.start;
    Summary {
        wall,
        steps,
        images: steps * run.plan.batch.global as u64,
        data_wait: reached.data_wait,
        rejected: reached.rejected,
        left_out: reached.left_out,
        stages: stages.collect(),
        channels: channels.collect(),
    }
}

fn placed(node: &PlanNode) -> Placed {
    match (node.place, node.rate) {
        (Place::Host { .. }, _) => Placed::Host,
        (Place::Island, Rate::Barrier) => Placed::Barrier,
        (Place::Island, _) => Placed::Island,
    }
}
