//! Reads what `rustc -vV` says of itself.

use std::process::Command;

use crate::console::ask;

/// A compiler's release and the major version of its LLVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub release: Release,
    pub llvm: u32,
}

/// `1.96` of `1.96.0-nightly` or of `1.96.0+dfsg1-1`.
pub type Release = (u32, u32);

/// The oldest compiler that builds this workspace.
pub fn minimum() -> Release {
    parse_release(env!("CARGO_PKG_RUST_VERSION")).unwrap_or((1, 0))
}

/// Asks `rustc -vV`, given what starts rustc.
pub fn of(rustc: &mut Command) -> Option<Version> {
    parse(&ask(rustc.arg("-vV"))?)
}

pub fn parse_release(text: &str) -> Option<Release> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn parse(text: &str) -> Option<Version> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some(Version { release: parse_release(field("release: ")?)?, llvm })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_llvm_is_read_from_the_compiler() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\n\
                    binary: rustc\nhost: x86_64-unknown-linux-gnu\nrelease: 1.96.0\n\
                    LLVM version: 22.1.8\n";
        assert_eq!(parse(text), Some(Version { release: (1, 96), llvm: 22 }));
    }

    #[test]
    fn a_compiler_that_names_no_llvm_is_none() {
        assert_eq!(parse("rustc 1.96.0\nrelease: 1.96.0\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_release_is_read_from_debian_and_nightly_versions() {
        assert_eq!(parse_release("1.96.0+dfsg1-1~deb12u2"), Some((1, 96)));
        assert_eq!(parse_release("1.97.0-nightly"), Some((1, 97)));
        assert_eq!(parse_release("(none)"), None);
    }

    #[test]
    fn the_minimum_is_the_one_of_the_workspace() {
        assert!(minimum() > (1, 80));
    }
}
