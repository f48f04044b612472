//! The binary: hands over to the library, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    geofenced::main()
}
