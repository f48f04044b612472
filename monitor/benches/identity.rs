//! Measures what it costs to know who sent: the kernel's own run times (`kernel.bpf_stats_enabled`) of
//! each program an operation, with what the kernel's BTF adds and without, in turn in one run. Needs
//! root. `cargo bench -p monitor --bench identity`; the numbers go to docs/performance.md. It asserts
//! nothing about time. Its packets stay on loopback.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread,
};

use geofenced::inside::{config::Config, probe::Kernel};

const ROUNDS: usize = 5;
/// As in monitor/src/probe/btf.rs.
const WITHOUT: &str = "GEOFENCED_WITHOUT_BTF";
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// An operation, and how often it is done a round.
type Operation = (&'static str, u32, fn(u32));

const OPERATIONS: [Operation; 4] = [
    ("sendto, known flow", 50_000, known),
    ("socket, sendto, close", 5_000, new_flows),
    ("TCP connect, send, close", 1_000, connections),
    ("fork, exec, exit", 300, execs),
];

/// Run time in nanoseconds by program.
type Times = BTreeMap<String, u64>;

fn main() {
    let before = fs::read_to_string(STATS).expect("bpf statistics");
    fs::write(STATS, "1").expect("turn the kernel's bpf statistics on; as root");
    let mut sums: BTreeMap<(usize, bool, String), Vec<u64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for is_plain in [false, true] {
            for (at, (_, count, run)) in OPERATIONS.into_iter().enumerate() {
                for (program, time) in measured(is_plain, count, run) {
                    let each = time / u64::from(count);
                    sums.entry((at, is_plain, program)).or_default().push(each);
                }
            }
        }
    }
    fs::write(STATS, before).expect("put the statistics back");
    println!("nanoseconds an operation, median of {ROUNDS} (least, most)");
    for ((at, is_plain, program), mut each) in sums {
        each.sort_unstable();
        let (least, median, most) = (each[0], each[each.len() / 2], each[each.len() - 1]);
        if median > 0 {
            let with = if is_plain { "without BTF" } else { "with BTF" };
            println!("{:26} {with:12} {program:16} {median} ({least}, {most})", OPERATIONS[at].0);
        }
    }
}

/// What the programs took for the operations.
fn measured(is_plain: bool, count: u32, run: fn(u32)) -> Times {
    if is_plain {
        // SAFETY: no other thread of this program reads the environment meanwhile.
        unsafe { std::env::set_var(WITHOUT, "1") };
    } else {
        // SAFETY: as above.
        unsafe { std::env::remove_var(WITHOUT) };
    }
    let config = Config::builtin();
    let kernel = Kernel::attach(&config.capture, &config.names).expect("attach; as root");
    run(10);
    let before = times();
    run(count);
    let mut after = times();
    drop(kernel);
    for (program, time) in &mut after {
        *time -= before.get(program).copied().unwrap_or(0);
    }
    after
}

/// Of the programs that this process holds (proc(5), `fdinfo` of a program).
fn times() -> Times {
    let mut times = Times::new();
    for entry in fs::read_dir("/proc/self/fdinfo").expect("fdinfo").flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<u64>().ok()
        };
        if let (Some(time), Some(id)) = (field("run_time_ns:"), field("prog_id:")) {
            let link = name(&entry.file_name().to_string_lossy());
            let known = times.entry(link.unwrap_or_else(|| id.to_string())).or_default();
            *known = time.max(*known);
        }
    }
    times
}

/// The name of the program behind a descriptor (`BPF_OBJ_GET_INFO_BY_FD`).
fn name(descriptor: &str) -> Option<String> {
    #[repr(C)]
    struct Attributes {
        fd: u32,
        len: u32,
        info: u64,
    }
    const GET_INFO: libc::c_long = 15;
    let mut info = [0_u8; 256];
    let mut attributes = Attributes {
        fd: descriptor.parse().ok()?,
        len: info.len() as u32,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: the kernel writes at most `len` bytes of `info`.
    let failed = unsafe {
        libc::syscall(libc::SYS_bpf, GET_INFO, &raw mut attributes, size_of::<Attributes>())
    };
    // `bpf_prog_info.name` (include/uapi/linux/bpf.h).
    let name = info.get(64..80).filter(|_| failed == 0)?;
    let name = name.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

fn known(count: u32) {
    let (to, from) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
    let (to, from) = (to.expect("loopback"), from.expect("loopback"));
    let address = to.local_addr().expect("bound");
    for _ in 0..count {
        let _ = from.send_to(b"x", address);
    }
}

fn new_flows(count: u32) {
    let to = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = to.local_addr().expect("bound");
    for _ in 0..count {
        let from = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let _ = from.send_to(b"x", address);
    }
}

fn connections(count: u32) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let server = thread::spawn(move || {
        for stream in listener.incoming().take(count as usize).flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 16]);
        }
    });
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).expect("connect");
        let _ = stream.write_all(b"x");
    }
    server.join().expect("the server");
}

fn execs(count: u32) {
    for _ in 0..count {
        let _ = Command::new("/bin/true").status();
    }
}
