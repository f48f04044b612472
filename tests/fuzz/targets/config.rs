//! The configuration: any text is a policy or an error of one line that names a line of the file.
//! A zero byte parts the file from a drop-in, so that merging is met too.
#![no_main]

use std::{cell::OnceCell, fs, path::PathBuf};

use geofenced::inside::config::{Config, ConfigError, explain};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

thread_local! {
    static DIRECTORY: OnceCell<TempDir> = const { OnceCell::new() };
}

fn main_file() -> PathBuf {
    DIRECTORY.with(|cell| {
        let made = cell.get_or_init(|| {
            let directory = tempfile::tempdir().expect("a directory in memory");
            fs::create_dir(directory.path().join("config.d")).expect("make config.d");
            directory
        });
        made.path().join("config.toml")
    })
}

fuzz_target!(|text: &str| {
    let path = main_file();
    let (main, drop_in) = text.split_once('\0').unwrap_or((text, ""));
    fs::write(&path, main).expect("write the file");
    fs::write(path.with_file_name("config.d/50-more.toml"), drop_in).expect("write the drop-in");
    match Config::load(&path) {
        Ok(config) => {
            let _ = explain(&config);
            assert_eq!(Config::load(&path).expect("once more"), config, "two readings differ");
        }
        Err(ConfigError::Wrong { line, problem, .. }) => {
            let lines = main.matches('\n').count().max(drop_in.matches('\n').count()) + 1;
            assert!((1..=lines).contains(&line), "line {line} of {lines}: {problem}");
            assert!(!problem.contains('\n'), "{problem}");
        }
        Err(error) => panic!("{error}"),
    }
});
