//! What a program did to its files, from strace(1)'s words for its system calls. Panics at one that it does not
//! know: what is not understood is not simulated.

use std::collections::HashMap;

/// What a call did, in terms of paths and of files that were opened.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Open {
        path: String,
        file: usize,
        creates: bool,
        truncates: bool,
    },
    Write {
        file: usize,
        at: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        file: usize,
        len: u64,
    },
    /// `fsync`, `fdatasync`.
    Sync {
        file: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    MakeDirectory {
        path: String,
    },
    /// On stdout.
    Say {
        line: String,
    },
}

impl Call {
    /// Something that a loss of power may take.
    pub(crate) fn changes(&self) -> bool {
        match self {
            Self::Open { creates, truncates, .. } => *creates || *truncates,
            Self::Say { .. } => false,
            _ => true,
        }
    }
}

/// What a descriptor stands for.
struct Opened {
    file: usize,
    at: u64,
    appends: bool,
}

/// The calls of a trace of one thread, made with `-xx`, below `root`, in their order.
pub(crate) fn calls(trace: &str, root: &str) -> Vec<Call> {
    let mut reader = Reader { root, descriptors: HashMap::new(), opened: 0, sizes: HashMap::new() };
    trace.lines().filter_map(|line| reader.read(line)).collect()
}

struct Reader<'r> {
    root: &'r str,
    descriptors: HashMap<i64, Opened>,
    opened: usize,
    /// By path, for what appends.
    sizes: HashMap<usize, u64>,
}

impl Reader<'_> {
    fn read(&mut self, line: &str) -> Option<Call> {
        assert!(!line.contains("<unfinished"), "two threads: {line}");
        // `name(arguments) = result`
        let (name, rest) = line.split_once('(')?;
        let (arguments, result) = rest.rsplit_once(" = ")?;
        let arguments = split(arguments.trim_end().strip_suffix(')')?);
        let result: i64 = result.split(' ').next()?.parse().unwrap_or(-1);
        if result < 0 {
            return None;
        }
        let descriptor = || arguments[0].parse::<i64>().ok();
        match name {
            "openat" => self.open(&text(&arguments[1]), &arguments[2], result),
            "close" => {
                self.descriptors.remove(&descriptor()?);
                None
            }
            "write" if descriptor() == Some(1) => {
                let line = String::from_utf8(bytes(&arguments[1])).expect("text");
                Some(Call::Say { line: line.trim_end().to_owned() })
            }
            "write" | "pwrite64" => {
                let at = arguments.get(3).map(|at| at.parse().expect("an offset"));
                self.write(descriptor()?, bytes(&arguments[1]), at, result)
            }
            "lseek" => {
                if let Some(opened) = self.descriptors.get_mut(&descriptor()?) {
                    opened.at = result.cast_unsigned();
                }
                None
            }
            "read" => {
                if let Some(opened) = self.descriptors.get_mut(&descriptor()?) {
                    opened.at += result.cast_unsigned();
                }
                None
            }
            "ftruncate" => {
                let file = self.descriptors.get(&descriptor()?)?.file;
                let len = arguments[1].parse().expect("a length");
                self.sizes.insert(file, len);
                Some(Call::Truncate { file, len })
            }
            "fsync" | "fdatasync" => {
                Some(Call::Sync { file: self.descriptors.get(&descriptor()?)?.file })
            }
            "rename" | "renameat" | "renameat2" => {
                let paths: Vec<String> =
                    arguments.iter().filter(|it| it.starts_with('"')).map(|it| text(it)).collect();
                let [from, to] = &paths[..] else { panic!("{line}") };
                self.is_ours(from).then(|| Call::Rename { from: from.clone(), to: to.clone() })
            }
            "unlink" | "unlinkat" => {
                let path = text(arguments.iter().find(|it| it.starts_with('"'))?);
                self.is_ours(&path).then_some(Call::Unlink { path })
            }
            "mkdir" | "mkdirat" => {
                let path = text(arguments.iter().find(|it| it.starts_with('"'))?);
                self.is_ours(&path).then_some(Call::MakeDirectory { path })
            }
            "writev" | "pwritev" | "pwritev2" | "fallocate" | "copy_file_range" | "sendfile"
            | "link" | "linkat" | "rmdir" | "truncate" | "splice" => {
                panic!("teach the test this call: {line}")
            }
            _ => None,
        }
    }

    fn is_ours(&self, path: &str) -> bool {
        path.starts_with(self.root)
    }

    fn open(&mut self, path: &str, flags: &str, descriptor: i64) -> Option<Call> {
        if !self.is_ours(path) {
            return None;
        }
        self.opened += 1;
        let file = self.opened;
        let has = |flag: &str| flags.split('|').any(|it| it == flag);
        self.descriptors.insert(descriptor, Opened { file, at: 0, appends: has("O_APPEND") });
        let (creates, truncates) = (has("O_CREAT"), has("O_TRUNC"));
        Some(Call::Open { path: path.to_owned(), file, creates, truncates })
    }

    fn write(
        &mut self,
        descriptor: i64,
        mut bytes: Vec<u8>,
        at: Option<u64>,
        written: i64,
    ) -> Option<Call> {
        let opened = self.descriptors.get_mut(&descriptor)?;
        bytes.truncate(usize::try_from(written).expect("no more than was asked"));
        let len = bytes.len() as u64;
        let end = self.sizes.entry(opened.file).or_default();
        let place = match at {
            Some(at) => at,
            None if opened.appends => *end,
            None => opened.at,
        };
        if at.is_none() {
            opened.at = place + len;
        }
        *end = (*end).max(place + len);
        Some(Call::Write { file: opened.file, at: place, bytes })
    }
}

/// At the commas outside of strings and brackets. With `-xx` no string holds one.
fn split(arguments: &str) -> Vec<String> {
    arguments.split(", ").map(str::to_owned).collect()
}

/// `"\x2f\x74"`
fn bytes(argument: &str) -> Vec<u8> {
    let inside = argument.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let inside = inside.unwrap_or_else(|| panic!("no whole string: {argument:.80}"));
    let digits = inside.split("\\x").skip(1);
    digits.map(|two| u8::from_str_radix(two, 16).expect("two digits")).collect()
}

fn text(argument: &str) -> String {
    String::from_utf8(bytes(argument)).expect("a path in UTF-8")
}
