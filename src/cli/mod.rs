//! The command line: one file a subcommand.

mod ablate;
mod attention;
mod bench;
mod check;
mod device;
mod doctor;
mod eval;
mod export;
mod features;
mod graph;
mod import;
mod report;
mod run;
mod stages;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::Error;
use crate::graph::load::{Loaded, Request, load};
use crate::graph::problem::{Diagnostic, Severity};
use crate::graph::report::print;
use crate::graph::spec::DeviceChoice;
use crate::kernels::cpu::instructions;
use crate::plan::{Plan, build, fit};
use crate::runtime::Interrupt;
use crate::stages::Registry;

pub use run::RunArgs;

/// Trains self-supervised vision transformers (DINO) by a declarative dataflow graph.
#[derive(Debug, Parser)]
#[command(name = "dinoflow", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trains: runs a graph
    Run(RunArgs),
    /// Judges a graph and prints its plan: every error at once, or what will run where, and what it costs
    Check(check::CheckArgs),
    /// Times a graph's steps, or some of its stages alone: images/s, GFLOP/s, allocations, memory
    Bench(bench::BenchArgs),
    /// Runs variants of one graph, each with several seeds, and reports on them side by side
    Ablate(ablate::AblateArgs),
    /// Says of a run's folder whether training has collapsed: which way, since when, why, and the remedy
    Doctor(doctor::DoctorArgs),
    /// Judges trained networks by a published protocol
    Eval(eval::EvalArgs),
    /// Writes what a network makes of pictures: CLS, and patches, with names and labels
    Features(features::FeaturesArgs),
    /// Draws where a network looks in pictures: each head's map, its mass, and patches by principal components
    Attention(attention::AttentionArgs),
    /// Reads weights of other programs (timm, Hugging Face, torchvision, the published ones) into a safetensors file of its own
    Import(import::ImportArgs),
    /// Writes weights as other programs read them: timm, Hugging Face, torchvision, the published checkpoints
    Export(export::ExportArgs),
    /// Makes one page of a run's folder, or of several: curves, times, pictures, settings
    Report(report::ReportArgs),
    /// Draws a graph, right or wrong
    Graph(graph::GraphArgs),
    /// Lists the stages: their ports, parameters, defaults and presets
    Stages(stages::StagesArgs),
}

/// A graph with its edits, as every subcommand that reads one takes it.
#[derive(Clone, Debug, Args)]
pub struct GraphArg {
    /// The graph file
    pub graph: PathBuf,
    /// Puts another stage in a node's place: a preset's path, or the stage as RON: 'center=Centering(momentum: 0.99)'
    #[arg(long, value_name = "NODE=PRESET|RON")]
    pub swap: Vec<String>,
    /// Changes one value, or puts a whole node in: optimizer.lr=1e-3, 'duration=Steps(10)', 'nodes.NAME=(stage: …, inputs: {…})'
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Leaves a node out, as if the file did not have it: knn, where pictures have no labels
    #[arg(long, value_name = "NODE")]
    pub without: Vec<String>,
    /// Where the networks live: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", value_parser = device::word)]
    pub device: Option<DeviceChoice>,
}

/// What graphs are computed with, as every subcommand that fires stages takes it.
#[derive(Clone, Debug, Args)]
pub struct Compute {
    /// Threads that work at once, the kernels' and the host stages' together [default: one a core]; any number gives the same bits
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// The average of the weights in a pass of its own, not in the optimizer's: the same bits
    #[arg(long)]
    pub no_fuse: bool,
}

/// Listens to signals.
fn interrupt() -> Result<Interrupt, Error> {
    Interrupt::from_signals().map_err(|e| Error::Failed(format!("signals can't be listened to: {e}")))
}

impl GraphArg {
    fn load(&self) -> Result<Loaded, Error> {
        // written as a graph writes it
        let device = self.device.iter().map(|device| format!("device={device:?}"));
        load(&Request {
            graph: self.graph.clone(),
            without: self.without.clone(),
            swaps: self.swap.clone(),
            sets: self.set.iter().cloned().chain(device).collect(),
            auto: device::settled(DeviceChoice::Auto),
        })
    }
}

/// Checks and plans a loaded graph; its notes come with the plan.
///
/// # Errors
/// [`Error::Graph`] with everything that is wrong.
pub fn plan(loaded: &Loaded, registry: &Registry) -> Result<(Plan, Vec<Diagnostic>), Error> {
    let planned = build::plan(loaded, registry);
    let (plan, notes) =
        planned.map_err(|problems| Error::Graph { problems, origins: Box::new(loaded.origins.clone()) })?;
    Ok((plan, notes))
}

/// What is wrong with a plan for the memory of the device that it asks for, as far as that is known.
fn memory_problem(loaded: &Loaded, registry: &Registry, plan: &Plan) -> Option<Diagnostic> {
    fit::problem(loaded, registry, plan, device::memory(plan.graph.device)?)
}

/// The program: parses the command line, does what it asks, and says what went wrong. A crate with stages of its own
/// calls this from its `main`.
pub fn main_with(registry: Registry) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // help and version are no errors, and go to standard output
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    // what the environment asks of the kernels is judged before the first of them works
    let done = instructions().map_err(Error::Request).and_then(|_| match cli.command {
        Command::Run(args) => args.run(&registry),
        Command::Check(args) => args.run(&registry),
        Command::Bench(args) => args.run(&registry),
        Command::Ablate(args) => args.run(&registry),
        Command::Doctor(args) => args.run(&registry),
        Command::Eval(args) => args.run(),
        Command::Features(args) => args.run(),
        Command::Attention(args) => args.run(),
        Command::Import(args) => args.run(&registry),
        Command::Export(args) => args.run(&registry),
        Command::Report(args) => args.run(&registry),
        Command::Graph(args) => args.run(&registry),
        Command::Stages(args) => args.run(&registry),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.exit_status())
        }
    }
}

/// The one place that prints an error.
fn print_error(error: &Error) {
    // a closed standard error leaves nobody to tell; the exit status still does
    if let Error::Graph { problems, origins } = error {
        let _ = print(problems, origins);
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        let word = if errors == 1 { "error" } else { "errors" };
        eprintln!("{errors} {word}; nothing was run");
    } else {
        eprintln!("error: {error}");
    }
}

/// Writes to standard output; a reader that has gone is no error.
fn say(text: &str) -> Result<(), Error> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::File { doing: "write", path: "standard output".into(), cause })
        }
        _ => Ok(()),
    }
}
