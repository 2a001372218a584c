//! DINO (self-distillation with no labels; Caron et al. 2021, arXiv:2104.14294) as a dataflow graph: a file names the stages of training
//! and the wires between them; the program checks it, plans it, draws it and runs it.
//!
//! # From a file to a run
//!
//! ```text
//! graphs/*.ron, stages/*/*.ron, --without, --swap, --set
//!   graph::load    GraphSpec   what the file says: strings and numbers, each with the place where it was written
//!   graph::check   Draft       everything that is wrong, at once; roles, ports and types of what is right
//!   plan::build    Plan        indices in place of names, a type on every edge, an order of firing, a cost
//!   runtime::run   Outcome     threads, channels, steps; the run folder that they leave behind
//! ```
//! *Spec* is the file, *Plan* is what will run, *Stage* is what runs. Neither a spec nor a plan names a tensor, so `check` and `graph` need no
//! data and no device, and answer in milliseconds.
//!
//! # The code map
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`cli`] | one file a subcommand; [`main_with`] is the whole program |
//! | [`error`] | what ends a command early, and its exit status |
//! | [`graph`] | RON text to a checked specification: parse, load (presets, `--without`, `--swap`, `--set`), check, report, write |
//! | [`plan`] | who runs where and in which order, what each edge carries, what it costs; plans in print and in pictures |
//! | [`stages`] | one file a stage, a folder for a role of many (`center`, `loss`): parameters, what is declared, what runs, tests; the registry of a user's own |
//! | [`runtime`] | threads, bounded channels, the island, the step barrier, faults, signals, traces |
//! | [`ablate`] | variants of one graph with several seeds, side by side, and the report on them |
//! | [`mod@bench`] | what a graph's steps cost on this machine: the runtime's threads and stages, timed |
//! | [`data`] | images: sources, the epoch's order, decoding, crops and augmentations. A library without threads |
//! | [`nn`] | networks: compile-time-shaped modules of typed dfdx parameters, and the one match from a name to a type |
//! | [`ops`] | differentiable fused operations on dfdx tensors, each one backward step on the tape |
//! | [`kernels`] | the arithmetic: vectorised and threaded on plain slices in `cpu`, on NVIDIA GPUs in `cuda` (behind the feature of that name), slow and obvious in `scalar`, the tests' oracle |
//! | [`tensor`] | the seam to dfdx: devices, the tape that a stage runs itself, tensors with shapes known at run time |
//! | [`optim`] | schedules and spans of training |
//! | [`weights`] | weights in and out: safetensors, files of torch.save read without running them, Hugging Face, timm, torchvision, and back |
//! | [`eval`] | what a network is worth: features of pictures, and the published ways of judging them |
//! | [`doctor`] | whether training has collapsed, which way, since when, why, and what to do about it |
//! | [`checkpoint`] | the run folder: what a run leaves behind, and what it resumes from |
//! | [`report`] | what a run tells: its record and other programs' logs, its progress, its timings, its pictures, its page |
//! | [`keyed`] | random draws as functions of a key |
//!
//! Beside `src/`: `graphs/` holds whole recipes, `graphs/ablations/` the paper's ablations, `examples/own_loss` a crate with a stage of its own, `stages/<role>/<variant>.ron` every stage with its parameters explained, `tests/reference/` what
//! is compared with numbers of the published method (from `tests/fixtures/`), `tests/faults.rs` what becomes of runs whose stages fail, `tests/peers/` scripts by which other programs read what a run left, `tests/cuda/` a stand-in for the GPU's driver that runs kernels on the CPU, and what is run where there is a GPU.
//!
//! # Words
//!
//! A *node* is a stage with a name and wires. A stage's *role* fixes its ports; a swap stays within a role. An *edge* joins an output to an input.
//! A *feedback* wire carries the previous step's value. A step is one update of the weights, counted from 0; it fires stages at *micro-batch* rate
//! several times and those at *step* rate once. Stages at the *barrier* fire between two steps. The *island* is the one thread that runs all stages
//! of the device; *host* stages (source, decode, multi_crop, collate) run ahead of it, each on a core that the kernels lend. An *actor* is a node's forward or
//! backward half. Heights come before widths; shapes are written as (batch, tokens, dim).
//!
//! # Invariants
//!
//! - [`graph`] and [`plan`] do no tensor work.
//! - Files are touched by loading, data, weights, evaluation, checkpoint, traces, report, the doctor and ablations (these three read runs), and the
//!   command line; by nothing else. ([`bench::memory`] asks
//!   the system for the process's peak of memory and for the machine's whole, [`kernels`] the environment for `DINOFLOW_ISA`, and keeps
//!   the CUDA kernels that it compiled itself.)
//! - Only [`runtime`] starts threads; kernels and evaluation use rayon's pool. No more threads work at once than the run has: a host stage
//!   fires on a core that a thread of the pool lends it, and whoever has borrowed one waits for nothing (but `collate`, on a GPU, for the copy of
//!   the pictures before the last ones, whose place in the host's memory it takes: that ends without any core).
//! - A process works on one GPU, and all kernels that it starts there go to one stream, in order: memory may be let go as soon as the last kernel that
//!   uses it was started. Pictures alone are copied beside them, on a second stream, to memory that stays: a copy waits for the kernels that read what
//!   stood there, and kernels wait for it from when they are told where the pictures are, which is when their step begins. The host waits where it reads a number and where it refills what a copy reads,
//!   and nowhere else. What a kernel makes depends on shapes alone, not on the card's size.
//! - A tensor that is written has one handle: on a GPU there is no copy on writing.
//! - A traced tensor never leaves its thread: stages are built on the thread that fires them, and a tape is not `Send`. The teacher is never traced.
//! - Every random draw is keyed by what it is for (seed, epoch, picture, crop, operation). The number of workers, a resume and another order of
//!   execution change nothing.
//! - The same inputs give the same bits on any number of threads: work is cut by shape alone, and sums are joined in order.
//! - Who reads state alone owns it (centre, queue, moments, statistics). Weights are owned by `optimizer` and `ema`, lent along wires for one step.
//! - Every stage with state saves and restores it, and a run that is killed and resumed ends with the bits of one that was not.
//! - A step commits whole or not at all. A loss or gradient that is not finite reaches no weight, moment, centre, statistic or teacher.
//! - When a stage fails or panics, the first cause is reported with node and step, its neighbours stop quietly, and all threads join.
//! - A file appears whole or not at all. The append-only logs are the exception: whole lines, cut back to the checkpoint's step on resume; of event
//!   files, whole events, the later ones of which a new file declares void.
//! - `unsafe` stands in [`kernels`] and [`tensor`] only, each block with the reason why it is sound.
//! - No network access and no telemetry.

pub mod ablate;
pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod data;
pub mod doctor;
pub mod error;
pub mod eval;
pub mod graph;
pub mod kernels;
pub mod keyed;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod report;
pub mod runtime;
pub mod stages;
pub mod tensor;
pub mod weights;

pub use cli::main_with;
