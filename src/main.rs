//! The binary `cast-ghl`: hands its arguments to the library and its result to the shell.

use std::process::ExitCode;

fn main() -> ExitCode {
    cast_ghl_provider::cli::main()
}
