use std::process::ExitCode;

fn main() -> ExitCode {
    dinoflow::main_with(dinoflow::stages::Registry::default())
}
