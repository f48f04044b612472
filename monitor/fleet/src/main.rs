//! The binary: hands over to the library, nothing else.
#![warn(clippy::unwrap_used)]

use std::process::ExitCode;

fn main() -> ExitCode {
    geofenced_fleet::main()
}
