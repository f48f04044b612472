//! Programs of a test's own: copies of the sender, each a file of its own, where any user may execute
//! it and any daemon may look.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{Lab, Running};

/// What programs name as their loader, on the machines that this runs on.
const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];

#[derive(Debug)]
pub struct Programs {
    directory: TempDir,
    sender: PathBuf,
}

impl Programs {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("geofenced-programs-").tempdir();
        let directory = directory.expect("a temporary directory");
        open_to_all(directory.path());
        Self { directory, sender: crate::lab::example("sender") }
    }

    /// Where `name` is, or would be.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A directory that everybody may write to.
    pub fn directory(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        fs::create_dir_all(&path).expect("make a directory");
        // Each on the way, too: what a umask took.
        for part in path.ancestors().take_while(|part| *part != self.directory.path()) {
            open_to_all(part);
        }
        path.display().to_string()
    }

    /// A copy of the sender by this name, which may have directories in front.
    pub fn copy(&self, name: &str) -> String {
        let path = self.path(name);
        if let Some((directory, _)) = name.rsplit_once('/') {
            self.directory(directory);
        }
        fs::copy(&self.sender, &path).expect("copy the sender: is the example built?");
        path
    }

    /// A copy of the generator by this name: the same ways of sending, by another program.
    pub fn generator(&self, name: &str) -> String {
        let path = self.path(name);
        let copied = fs::copy(crate::lab::example("egress"), &path);
        copied.expect("copy the generator: is the example built?");
        path
    }

    /// A script that this program interprets.
    pub fn script(&self, name: &str, interpreter: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("#!{interpreter} script\n")).expect("write a script");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("chmod");
        path
    }

    /// A directory that is a root of its own: with what `program`, which shall be at `at` there,
    /// needs to start.
    pub fn root(&self, name: &str, program: &str, at: &str) -> String {
        let root = self.directory(name);
        let maps = fs::read_to_string("/proc/self/maps").expect("read /proc/self/maps");
        let files = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
        let mut libraries: Vec<&str> = files.filter(|file| file.contains(".so")).collect();
        libraries.sort_unstable();
        libraries.dedup();
        for library in libraries {
            copy_below(&root, library, library);
        }
        for loader in LOADERS.into_iter().filter(|it| Path::new(it).exists()) {
            copy_below(&root, loader, loader);
        }
        copy_below(&root, program, at);
        root
    }

    /// A program with its words at the lab's host, ready to be started.
    pub fn command(lab: &Lab, program: &str, words: &str) -> Command {
        let mut command = Command::new(program);
        command.args(words.split_whitespace());
        crate::tied(&mut command);
        lab.host.admit(&mut command);
        lab.cgroup.admit(&mut command);
        command
    }

    /// Runs it to its end, which must be a good one. Gives back its pid.
    pub fn run(lab: &Lab, program: &str, words: &str) -> u32 {
        let running = Running::start(&mut Self::command(lab, program, words));
        let pid = running.pid();
        running.end();
        pid
    }
}

impl Default for Programs {
    fn default() -> Self {
        Self::new()
    }
}

fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o777)).expect("chmod");
}

fn copy_below(root: &str, file: &str, at: &str) {
    let into = format!("{root}{at}");
    let (directory, _) = into.rsplit_once('/').expect("an absolute path");
    fs::create_dir_all(directory).expect("make a directory");
    fs::copy(file, &into).unwrap_or_else(|error| panic!("{file}: {error}"));
}
