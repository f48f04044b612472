//! A disk that loses its power: what was not synced is lost, whole or by sectors, and names by their directories.
//! Knows nothing of what the files hold.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::Path,
};

use fastrand::Rng;

use super::trace::Call;

/// What a disk writes whole.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Truncate { len: u64 },
}

/// A file, whatever its name.
#[derive(Clone, Debug, Default)]
struct Content {
    durable: Vec<u8>,
    /// Since the last sync, in their order.
    pending: Vec<Change>,
}

/// In a directory.
#[derive(Clone, Debug)]
enum Renaming {
    Make { path: String, node: Node },
    Remove { path: String },
    Move { from: String, to: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    File(usize),
}

type Names = BTreeMap<String, Node>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    contents: Vec<Content>,
    /// As the program sees them, and as they are on the disk.
    names: Names,
    durable: Names,
    /// By directory, since it was synced.
    pending: BTreeMap<String, Vec<Renaming>>,
    /// What each opening was of.
    opened: HashMap<usize, Target>,
}

#[derive(Clone, Debug)]
enum Target {
    File(usize),
    Directory(String),
}

/// Paths and their files.
pub(crate) struct Image {
    directories: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Disk {
    /// The directory in which all is, synced.
    pub(crate) fn at(root: &str) -> Self {
        let mut disk = Self::default();
        disk.names.insert(root.to_owned(), Node::Directory);
        disk.durable = disk.names.clone();
        disk
    }

    pub(crate) fn apply(&mut self, call: &Call) {
        match call {
            Call::Say { .. } => {}
            Call::Open { path, file, creates, truncates } => {
                self.open(path, *file, *creates, *truncates);
            }
            Call::Write { file, at, bytes } => {
                let change = Change::Write { at: *at, bytes: bytes.clone() };
                self.change(*file, change);
            }
            Call::Truncate { file, len } => self.change(*file, Change::Truncate { len: *len }),
            Call::Sync { file } => self.sync(*file),
            Call::Rename { from, to } => {
                let renaming = Renaming::Move { from: from.clone(), to: to.clone() };
                self.rename(from, renaming);
            }
            Call::Unlink { path } => self.rename(path, Renaming::Remove { path: path.clone() }),
            Call::MakeDirectory { path } => {
                let renaming = Renaming::Make { path: path.clone(), node: Node::Directory };
                self.rename(path, renaming);
            }
        }
    }

    fn root(&self) -> Option<&str> {
        self.names.keys().next().map(String::as_str)
    }

    fn open(&mut self, path: &str, file: usize, creates: bool, truncates: bool) {
        let path = path.trim_end_matches('/');
        let target = match self.names.get(path) {
            Some(Node::Directory) => Target::Directory(path.to_owned()),
            Some(Node::File(content)) => Target::File(*content),
            None => {
                assert!(creates, "{path} was opened and nobody made it");
                self.contents.push(Content::default());
                let content = self.contents.len() - 1;
                let node = Node::File(content);
                self.rename(path, Renaming::Make { path: path.to_owned(), node });
                Target::File(content)
            }
        };
        self.opened.insert(file, target);
        if truncates {
            self.change(file, Change::Truncate { len: 0 });
        }
    }

    fn change(&mut self, file: usize, change: Change) {
        let Some(Target::File(content)) = self.opened.get(&file) else { panic!("no file") };
        self.contents[*content].pending.push(change);
    }

    fn sync(&mut self, file: usize) {
        match self.opened[&file].clone() {
            Target::File(content) => {
                let content = &mut self.contents[content];
                for change in std::mem::take(&mut content.pending) {
                    make(&mut content.durable, &change);
                }
            }
            Target::Directory(path) => {
                for renaming in self.pending.remove(&path).unwrap_or_default() {
                    give_name(&mut self.durable, &renaming);
                }
            }
        }
    }

    fn rename(&mut self, path: &str, renaming: Renaming) {
        give_name(&mut self.names, &renaming);
        let (directory, _) = path.rsplit_once('/').expect("an absolute path");
        self.pending.entry(directory.to_owned()).or_default().push(renaming);
    }

    /// What the program would find if it alone had ended.
    pub(crate) fn as_seen(&self) -> Image {
        self.image(&self.names, |content| {
            let mut bytes = content.durable.clone();
            content.pending.iter().for_each(|change| make(&mut bytes, change));
            bytes
        })
    }

    /// What it finds after the power went: of what was not synced some is there, some not, some in part.
    pub(crate) fn after_a_cut(&self, random: &mut Rng) -> Image {
        let mut names = self.durable.clone();
        for renamings in self.pending.values() {
            // A directory keeps its order.
            let kept = random.usize(..=renamings.len());
            renamings[..kept].iter().for_each(|renaming| give_name(&mut names, renaming));
        }
        // What is in a directory that is not there is not there either.
        let mut there = BTreeSet::<String>::new();
        names.retain(|path, _| {
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            let is_there =
                Some(path.as_str()) == self.root() || parent.is_some_and(|it| there.contains(it));
            is_there && there.insert(path.clone())
        });
        let mut lose = |content: &Content| {
            let mut bytes = content.durable.clone();
            for change in &content.pending {
                match (random.u8(..3), change) {
                    (0, _) => {}
                    (1, change) => make(&mut bytes, change),
                    (_, Change::Truncate { .. }) => make(&mut bytes, change),
                    (_, Change::Write { at, bytes: written }) => {
                        tear(&mut bytes, *at as usize, written, random);
                    }
                }
            }
            bytes
        };
        let mut image = Image { directories: Vec::new(), files: Vec::new() };
        for (path, node) in &names {
            match node {
                Node::Directory => image.directories.push(path.clone()),
                Node::File(content) => {
                    image.files.push((path.clone(), lose(&self.contents[*content])));
                }
            }
        }
        image
    }

    fn image(&self, names: &Names, read: impl Fn(&Content) -> Vec<u8>) -> Image {
        let mut image = Image { directories: Vec::new(), files: Vec::new() };
        for (path, node) in names {
            match node {
                Node::Directory => image.directories.push(path.clone()),
                Node::File(content) => {
                    image.files.push((path.clone(), read(&self.contents[*content])));
                }
            }
        }
        image
    }
}

impl Image {
    /// Puts it into `to`, as what was below `root`.
    pub(crate) fn put(&self, root: &str, to: &Path) {
        let place = |path: &str| {
            let below = path.strip_prefix(root).expect("below the root");
            to.join(below.trim_start_matches('/'))
        };
        for directory in &self.directories {
            fs::create_dir_all(place(directory)).expect("a directory");
        }
        for (path, bytes) in &self.files {
            fs::write(place(path), bytes).expect("a file");
        }
    }
}

fn make(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Truncate { len } => bytes.resize(*len as usize, 0),
        Change::Write { at, bytes: written } => {
            let (at, end) = (*at as usize, *at as usize + written.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(written);
        }
    }
}

/// Each sector is there or not; the file is as long as the last that is.
fn tear(bytes: &mut Vec<u8>, at: usize, written: &[u8], random: &mut Rng) {
    let mut from = 0;
    while from < written.len() {
        let to = (SECTOR - (at + from) % SECTOR + from).min(written.len());
        if random.bool() {
            let change =
                Change::Write { at: (at + from) as u64, bytes: written[from..to].to_vec() };
            make(bytes, &change);
        }
        from = to;
    }
}

fn give_name(names: &mut Names, renaming: &Renaming) {
    match renaming {
        Renaming::Make { path, node } => {
            names.insert(path.clone(), *node);
        }
        Renaming::Remove { path } => {
            names.remove(path);
        }
        Renaming::Move { from, to } => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}
