//! dinoflow with a loss of one's own: every command and every stage as always, and `Custom(kind: "brier", …)` in graphs.
//!
//! ```sh
//! cargo run --release -p own_loss -- check examples/own_loss/graph.ron
//! cargo run --release -p own_loss -- run examples/own_loss/graph.ron
//! cargo run --release -p own_loss -- run graphs/quickstart.ron --swap 'loss=Custom(kind: "brier", with: (temperature: 0.1))'
//! ```

mod brier;

use std::process::ExitCode;

use brier::Brier;
use dinoflow::stages::Registry;

fn main() -> ExitCode {
    let registry = Registry::default().stage(
        "brier",
        |with| Ok(Box::new(Brier::parse(with)?)),
        |with, graph, _device| Ok(Box::new(Brier::parse(with)?.running(graph.global_batch))),
    );
    dinoflow::main_with(registry)
}
