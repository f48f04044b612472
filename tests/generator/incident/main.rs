//! Writes the ledger of an incident on a ground station, three days long and the same each time: what
//! `tests/fixtures/incident` is. It tells nothing of it; `tests/daemon/questions.rs` asks.
//!
//! `incident DIR`: from the repository's root, into a directory that is not there yet. Signed under a key that is
//! thrown away.

mod cast;
mod plan;
mod source;
mod write;

use std::path::Path;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [directory] = &words[..] else { panic!("incident DIR") };
    let root = Path::new(directory);
    assert!(!root.exists(), "{directory} is there already");
    write::write(root, write::planned());
    // What can be made again, and what nobody else may have.
    for rest in ["lock", "evidence/key"] {
        std::fs::remove_file(root.join(rest)).expect(rest);
    }
    std::fs::remove_dir_all(root.join("index")).expect("index");
}
