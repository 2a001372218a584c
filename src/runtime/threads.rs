//! Host stages on threads of their own, joined by bounded channels.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::arrivals::feeders;
use super::build::Build;
use super::channel::{Credits, InOrder, Receiving, Refund, Sending, Stopped, credits, open};
use super::cores::Cores;
use super::fault::{guard, lock};
use super::firing::{Firing, Run};
use super::host::{Bundle, Feed, HostNode};
use super::stage::{Stage, StageError};
use super::trace::Track;
use crate::kernels::Kernels;
use crate::plan::{NodeId, Place};
use crate::tensor::allocator;

/// How long a worker keeps a core while there is work for it: changing hands costs some microseconds, and a kernel may want the core.
const TURN: Duration = Duration::from_micros(500);

/// Where a worker's next work comes from; clones share it.
enum Intake<D: Kernels> {
    /// A source counts: the run's tickets, with leave to start another picture.
    Tickets { next: Arc<AtomicU64>, end: u64, credits: Credits },
    /// One producer at the same rate: whatever comes first.
    Any(Receiving<Bundle<D>>),
    /// In the order of tickets: for each producer its bundles, and how many make one firing.
    Ordered(Arc<Mutex<Joint<D>>>),
}

/// Producers whose values belong together.
struct Joint<D: Kernels> {
    /// The next firing's ticket.
    next: u64,
    from: Vec<(InOrder<Bundle<D>>, usize)>,
}

/// What one firing takes: its ticket, and for each producer the bundles that make it up.
type Work<D> = (u64, Vec<Vec<Bundle<D>>>);

impl<D: Kernels> Clone for Intake<D> {
    fn clone(&self) -> Self {
        match self {
            Intake::Tickets { next, end, credits } => {
                Intake::Tickets { next: next.clone(), end: *end, credits: credits.clone() }
            }
            Intake::Any(from) => Intake::Any(from.clone()),
            Intake::Ordered(joint) => Intake::Ordered(joint.clone()),
        }
    }
}

impl<D: Kernels> Intake<D> {
    /// Another firing, where everything for it is there.
    fn ready(&self) -> Option<Work<D>> {
        match self {
            Intake::Tickets { next, end, credits } if credits.ready() => {
                let ticket = next.fetch_add(1, Relaxed);
                (ticket < *end).then_some((ticket, Vec::new()))
            }
            Intake::Any(from) => from.ready().map(|(ticket, bundle)| (ticket, vec![vec![bundle]])),
            // what is ordered is gathered: the next firing's values have hardly begun to come
            Intake::Tickets { .. } | Intake::Ordered(_) => None,
        }
    }

    /// The next firing's ticket and what the producers gave for it.
    fn next(&self) -> Result<Work<D>, Stopped> {
        match self {
            Intake::Tickets { next, end, credits } => {
                credits.take()?;
                let ticket = next.fetch_add(1, Relaxed);
                if ticket < *end { Ok((ticket, Vec::new())) } else { Err(Stopped) }
            }
            Intake::Any(from) => from.receive().map(|(ticket, bundle)| (ticket, vec![vec![bundle]])),
            Intake::Ordered(joint) => {
                let mut joint = lock(joint);
                let mut bundles = Vec::new();
                for (from, ratio) in &mut joint.from {
                    let of: Result<Vec<_>, _> = (0..*ratio).map(|_| from.take()).collect();
                    bundles.push(of?);
                }
                joint.next += 1;
                Ok((joint.next - 1, bundles))
            }
        }
    }
}

/// One worker of a host node.
struct Worker<'a, D: Kernels> {
    host: HostNode,
    intake: Intake<D>,
    outlets: Vec<Sending<Bundle<D>>>,
    /// Where it fires; none for a stage that reads files, which waits more than it works.
    cores: Option<&'a Cores>,
}

impl<D: Kernels> Worker<'_, D> {
    fn work(&self, run: &Run<'_>, build: &dyn Build<D>, track: &mut Track<'_>) -> Result<(), Stopped> {
        let actor = Firing::forward(run.plan, self.host.node).actor;
        let mut stage: Box<dyn Stage<D>> =
            run.guarded(actor, run.steps.start, || build.build(self.host.node))?;
        loop {
            // whoever waits, for work or for room, has no core
            let first = self.intake.next()?;
            for (ticket, bundle) in self.turn(run, track, stage.as_mut(), first)? {
                self.hand_on(ticket, bundle)?;
            }
        }
    }

    /// Fires on a core, again as long as there is work and the turn lasts.
    fn turn(
        &self,
        run: &Run<'_>,
        track: &mut Track<'_>,
        stage: &mut dyn Stage<D>,
        first: Work<D>,
    ) -> Result<Vec<(u64, Bundle<D>)>, Stopped> {
        let _loan = self.cores.map(|cores| cores.borrow(&run.fault)).transpose()?;
        let (start, mut given, mut work) = (Instant::now(), Vec::new(), Some(first));
        while let Some((ticket, bundles)) = work {
            given.push((ticket, self.host.fire(run, track, stage, ticket, bundles)?));
            work = if start.elapsed() < TURN { self.intake.ready() } else { None };
        }
        Ok(given)
    }

    fn hand_on(&self, ticket: u64, bundle: Bundle<D>) -> Result<(), Stopped> {
        let Some((last, others)) = self.outlets.split_last() else { return Ok(()) };
        for outlet in others {
            outlet.send(ticket, bundle.clone())?;
        }
        last.send(ticket, bundle)
    }
}

/// The island's end of the host stages.
pub struct Threads<D: Kernels> {
    from: Vec<InOrder<Bundle<D>>>,
    refunds: Vec<Refund>,
    /// Pictures in a bundle of the first feeder, whose arrival makes room for others.
    pictures: usize,
}

impl<D: Kernels> Feed<D> for Threads<D> {
    fn next(&mut self, arrival: usize, _: u64, _: &mut Track<'_>) -> Result<Bundle<D>, Stopped> {
        let bundle = self.from[arrival].take()?;
        if arrival == 0 {
            self.refunds.iter().for_each(|refund| refund.give(self.pictures));
        }
        Ok(bundle)
    }
}

/// Opens the channels and starts the threads; they end when the steps are done, or with the first fault.
pub fn start<'scope, D: Kernels>(
    run: &'scope Run<'scope>,
    build: &'scope dyn Build<D>,
    cores: &'scope Cores,
    scope: &'scope Scope<'scope, '_>,
) -> Result<Threads<D>, Stopped> {
    let fail = |e: StageError| run.fail("plan".into(), run.steps.start, e);
    let hosts = HostNode::of(run).map_err(fail)?;
    let mut channels = Channels::open(run, &hosts, cores);
    let feeders = feeders(run);
    let pictures = feeders.first().map_or(1, |node| pictures(run, *node));
    let mut refunds = Vec::new();
    for host in hosts {
        let intake = channels.intake(run, &host, |window| {
            let (refund, credits) = credits(window, &run.fault);
            refunds.push(refund);
            credits
        });
        let outlets = channels.outlets.remove(&host.node).unwrap_or_default();
        let node = &run.plan.nodes[host.node.0];
        let workers = workers(run, host.node, cores);
        let cores = (!node.reads).then_some(cores);
        for number in 0..workers {
            let (host, intake, outlets) = (host.clone(), intake.clone(), outlets.clone());
            let worker = Worker { host, intake, outlets, cores };
            let name = if workers > 1 { format!("{} {number}", node.name) } else { node.name.clone() };
            spawn(run, build, scope, name, worker).map_err(|e| {
                run.fail(node.name.clone(), run.steps.start, StageError::Device(format!("no thread: {e}")))
            })?;
        }
    }
    Ok(Threads { from: channels.to_island, refunds, pictures })
}

fn spawn<'scope, D: Kernels>(
    run: &'scope Run<'scope>,
    build: &'scope dyn Build<D>,
    scope: &'scope Scope<'scope, '_>,
    name: String,
    worker: Worker<'scope, D>,
) -> std::io::Result<()> {
    let node = run.plan.nodes[worker.host.node.0].name.clone();
    let body = move || {
        allocator::count_apart();
        let mut track = run.trace.track(std::thread::current().name().unwrap_or_default());
        let result = guard(|| {
            // a quiet stop is no error of this thread: the cause, if any, is recorded
            let _ = worker.work(run, build, &mut track);
            Ok(())
        });
        if let Err(cause) = result {
            run.fail(node, run.steps.start, cause);
        }
    };
    std::thread::Builder::new().name(name).spawn_scoped(scope, body).map(drop)
}

/// The channels between host nodes and to the island, until their ends are handed out.
struct Channels<D: Kernels> {
    outlets: HashMap<NodeId, Vec<Sending<Bundle<D>>>>,
    inlets: HashMap<(NodeId, NodeId), Receiving<Bundle<D>>>,
    to_island: Vec<InOrder<Bundle<D>>>,
    /// Pictures that all channels and workers hold at once.
    window: usize,
}

impl<D: Kernels> Channels<D> {
    fn open(run: &Run<'_>, hosts: &[HostNode], cores: &Cores) -> Self {
        let mut channels =
            Channels { outlets: HashMap::new(), inlets: HashMap::new(), to_island: Vec::new(), window: 0 };
        for host in hosts {
            let pictures = pictures(run, host.node);
            channels.window += workers(run, host.node, cores) * pictures;
            for consumer in &host.consumers {
                let (sending, receiving) = channels.between(run, host.node, Some(*consumer));
                channels.outlets.entry(host.node).or_default().push(sending);
                channels.inlets.insert((host.node, *consumer), receiving);
            }
        }
        for node in feeders(run) {
            let (sending, receiving) = channels.between(run, node, None);
            channels.outlets.entry(node).or_default().push(sending);
            let first = run.steps.start * run.per_step(run.plan.nodes[node.0].rate) as u64;
            channels.to_island.push(InOrder::new(receiving.lending(cores.asking()), first));
        }
        channels
    }

    /// The channel behind all wires from one host node to another, or to the island. The wires of a pair share one, so that
    /// values of one firing travel together and none can wait for another.
    fn between(
        &mut self,
        run: &Run<'_>,
        from: NodeId,
        to: Option<NodeId>,
    ) -> (Sending<Bundle<D>>, Receiving<Bundle<D>>) {
        let plan = run.plan;
        let ends = |node: NodeId| to.map_or(plan.nodes[node.0].place == Place::Island, |to| to == node);
        let wires = plan.edges.iter().filter(|e| e.from.node == from && ends(e.to.node));
        let capacity = wires.map(|e| e.capacity).max().unwrap_or(1).max(1);
        self.window += capacity * pictures(run, from);
        let name = |node: NodeId| plan.nodes[node.0].name.as_str();
        open(run.gauge(name(from), to.map_or("island", name), capacity), &run.fault)
    }

    fn intake(&mut self, run: &Run<'_>, host: &HostNode, grant: impl FnOnce(usize) -> Credits) -> Intake<D> {
        let rate = run.plan.nodes[host.node.0].rate;
        let per_step = run.per_step(rate) as u64;
        let first = run.steps.start * per_step;
        let mut from = host.producers.iter().filter_map(|&(producer, ratio)| {
            let receiving = self.inlets.remove(&(producer, host.node))?;
            Some((receiving, first * ratio as u64, ratio))
        });
        let same_rate = host.producers.iter().all(|(node, _)| run.plan.nodes[node.0].rate == rate);
        match host.producers.len() {
            0 => Intake::Tickets {
                next: Arc::new(AtomicU64::new(first)),
                end: run.steps.end * per_step,
                credits: grant(self.window),
            },
            1 if same_rate => match from.next() {
                Some((receiving, ..)) => Intake::Any(receiving),
                None => ordered(first, Vec::new()),
            },
            _ => {
                let joint = from.map(|(receiving, first, ratio)| (InOrder::new(receiving, first), ratio));
                ordered(first, joint.collect())
            }
        }
    }
}

fn ordered<D: Kernels>(next: u64, from: Vec<(InOrder<Bundle<D>>, usize)>) -> Intake<D> {
    Intake::Ordered(Arc::new(Mutex::new(Joint { next, from })))
}

/// Threads that share a host node: no more than can work at once.
fn workers(run: &Run<'_>, node: NodeId, cores: &Cores) -> usize {
    run.plan.nodes[node.0].place.workers(cores.threads())
}

/// Pictures behind one firing of a node.
fn pictures(run: &Run<'_>, node: NodeId) -> usize {
    run.plan.batch.global / run.per_step(run.plan.nodes[node.0].rate)
}
