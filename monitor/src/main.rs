//! The binary: hands over to `commands`, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    geofenced::commands::main()
}
