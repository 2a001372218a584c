//! Starts the threads of a run and joins them: the host stages' own, and the island's.

use std::thread;

use super::channel::Stopped;
use super::cores::{self, Cores, STACK};
use super::execute::Parts;
use super::fault::{Cause, Failure, guard};
use super::firing::Run;
use super::host::Feed;
use super::island::Island;
use super::options::RunError;
use super::sequential::Sequential;
use super::stage::StageError;
use super::threads;
use crate::kernels::Kernels;
use crate::tensor::allocator;

/// How work is laid on threads. No number of a run depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Host stages fire on the island's thread, when it asks for them.
    pub sequential: bool,
    /// Threads of kernels and host stages together; one a core where none is given.
    pub threads: Option<usize>,
}

/// Builds the stages, lets `steps` work with them on the island's thread, and joins all threads. What `steps` gives back is told
/// after everything has ended in order.
///
/// # Errors
/// The first cause that ended a thread.
pub fn launch<'a, D: Kernels, T: Send>(
    run: &'a Run<'a>,
    parts: &'a Parts<'a, D>,
    layout: Layout,
    steps: impl FnOnce(Island<'a, D>, Box<dyn Feed<D> + 'a>) -> Result<T, Stopped> + Send,
) -> Result<T, RunError> {
    let ended = on_threads(run, parts, layout, steps)?;
    match (run.fault.take(), ended) {
        (Some(failure), _) => Err(failure.into()),
        (None, Ok(reached)) => Ok(reached),
        (None, Err(Stopped)) => {
            let cause = Cause::Error(StageError::Bug("the host stages ended early".into()));
            Err(Failure { node: "runtime".into(), step: run.steps.start, cause }.into())
        }
    }
}

/// The host stages on their threads and the island on its own, until all of them are done.
fn on_threads<'a, D: Kernels, T: Send>(
    run: &'a Run<'a>,
    parts: &'a Parts<'a, D>,
    layout: Layout,
    steps: impl FnOnce(Island<'a, D>, Box<dyn Feed<D> + 'a>) -> Result<T, Stopped> + Send,
) -> Result<Result<T, Stopped>, RunError> {
    let cores = Cores::new(cores::threads(layout.threads))?;
    let cores = &cores;
    thread::scope(|scope| {
        let feed = match layout.sequential {
            true => Ok(None),
            false => threads::start(run, parts.build, cores, scope).map(Some),
        };
        let island = move || {
            let feed = feed.map(|feed| feed.map(|feed| Box::new(feed) as Box<dyn Feed<D> + Send + 'a>));
            let mut reached = Err(Stopped);
            let work = || {
                let result = guard(|| {
                    reached = feed
                        .and_then(|feed| built(run, parts, feed))
                        .and_then(|(island, feed)| steps(island, feed));
                    Ok(())
                });
                if let Err(cause) = result {
                    run.fail("runtime".into(), run.steps.start, cause);
                }
            };
            cores.install(work);
            // those that wait for room wait no longer
            run.fault.stop();
            reached
        };
        let island =
            thread::Builder::new().name("island".into()).stack_size(STACK).spawn_scoped(scope, island);
        match island {
            Ok(island) => Ok(island.join().unwrap_or(Err(Stopped))),
            Err(error) => {
                run.fault.stop();
                Err(RunError::Threads(error.to_string()))
            }
        }
    })
}

/// The island's stages, and where their pictures come from.
fn built<'a, D: Kernels>(
    run: &'a Run<'a>,
    parts: &'a Parts<'a, D>,
    feed: Option<Box<dyn Feed<D> + Send + 'a>>,
) -> Result<(Island<'a, D>, Box<dyn Feed<D> + 'a>), Stopped> {
    let island = Island::<D>::new(run, parts.device, parts.build, run.trace.track("island"))?;
    let feed: Box<dyn Feed<D> + 'a> = match feed {
        Some(feed) => feed,
        None => Box::new(Sequential::new(run, parts.build)?),
    };
    Ok((island, feed))
}

/// The same work on several threads at once, each told its number; they count their allocations apart.
///
/// # Errors
/// When the system has no more threads. Panics in `work` are passed on.
pub fn side_by_side<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Result<Vec<T>, RunError> {
    thread::scope(|scope| {
        let spawn = |number: usize| {
            let work = &work;
            let body = move || {
                allocator::count_apart();
                work(number)
            };
            let name = format!("host {number}");
            thread::Builder::new().name(name).stack_size(STACK).spawn_scoped(scope, body)
        };
        let spawned: Vec<_> = (0..threads)
            .map(spawn)
            .collect::<Result<_, _>>()
            .map_err(|e| RunError::Threads(e.to_string()))?;
        Ok(spawned
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect())
    })
}
