//! What grows with cgroups and interfaces: real ones, which a daemon of its own watches.

use std::{
    fs,
    io::Write as _,
    net::UdpSocket,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{plot::Series, resident};
use harness::{Lab, Namespace, Site};

/// By which this program knows that it is to send from each cgroup.
pub(super) const WORD: &str = "send-from";
/// For what an idle daemon takes.
const IDLE: Duration = Duration::from_secs(10);
const SEEN: &str = "geofenced_egress_flows_total";

/// One process goes from one to the next, and sends in each on a socket of its own.
pub(super) fn send_from(directory: &str, count: u64) {
    for number in 0..count {
        let members = Path::new(directory).join(number.to_string()).join("cgroup.procs");
        fs::write(members, "0").expect("enter a cgroup");
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.send_to(&[0; 64], "203.0.113.1:9").expect("send");
    }
}

pub(super) fn cgroups(memory: &mut Vec<Series>, time: &mut Vec<Series>) {
    println!("\n| cgroups | memory each, bytes | processor time of the daemon each, us |");
    println!("|---|---|---|");
    let (mut taken, mut told) = (Series::new("cgroups"), Series::new("a packet of each cgroup"));
    for count in [100, 1_000, 10_000] {
        let lab = Lab::new();
        let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
        site.watch_only(lab.cgroup.path());
        let directory = lab.cgroup.path();
        for number in 0..count {
            fs::create_dir(directory.join(number.to_string())).expect("a cgroup");
        }
        let daemon = site.start();
        let (before, cpu) = (resident(&daemon.pid().to_string()), spent(daemon.pid()));
        let mut sender = Command::new(std::env::current_exe().expect("the path of this program"));
        sender.args([WORD, &directory.display().to_string(), &count.to_string()]);
        let ended = lab.host.admit(&mut sender).status().expect("send");
        assert!(ended.success(), "{ended}");
        let all = harness::eventually(|| {
            (site.metrics().sum(SEEN, &[]) > count as f64 - 0.5).then_some(())
        });
        assert!(all.is_some(), "{}", site.log());
        let all = resident(&daemon.pid().to_string()).saturating_sub(before);
        let took = spent(daemon.pid()).saturating_sub(cpu);
        let (each, us) = (taken.each(count, all), took.as_secs_f64() * 1e6 / count as f64);
        println!("| {count} | {each} | {us:.0} |");
        taken.add(count, all as f64 / 1e6);
        told.add(count, took.as_secs_f64() * 1e3);
        assert_eq!(daemon.stop(), Some(0), "{}", site.log());
        for number in 0..count {
            fs::remove_dir(directory.join(number.to_string())).expect("remove a cgroup");
        }
    }
    memory.push(taken);
    time.push(told);
}

pub(super) fn interfaces(memory: &mut Vec<Series>, time: &mut Vec<Series>) {
    println!("\n| interfaces | to ready, ms | memory each, bytes | idle, % of a core |");
    println!("|---|---|---|---|");
    let (mut taken, mut ready) =
        (Series::new("interfaces"), Series::new("to ready with interfaces"));
    let mut first = None;
    for count in [10, 100, 1_000] {
        let namespace = Namespace::new();
        make(&namespace, count);
        let lab = Lab::new();
        let site = Site::inside(&namespace, env!("CARGO_BIN_EXE_geofenced"));
        site.watch_only(lab.cgroup.path());
        let began = Instant::now();
        let daemon = site.start();
        let took = began.elapsed().as_secs_f64() * 1e3;
        std::thread::sleep(Duration::from_secs(3));
        let now = resident(&daemon.pid().to_string());
        let least = *first.get_or_insert(now);
        let cpu = spent(daemon.pid());
        std::thread::sleep(IDLE);
        let idle =
            spent(daemon.pid()).saturating_sub(cpu).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
        let more = now.saturating_sub(least);
        println!("| {count} | {took:.0} | {} | {idle:.2} |", taken.each(count, more));
        taken.add(count, more as f64 / 1e6);
        ready.add(count, took);
        assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    }
    memory.push(taken);
    time.push(ready);
}

fn make(namespace: &Namespace, count: u64) {
    let mut ip = Command::new("ip");
    let ip = namespace.admit(ip.args(["-batch", "-"]).stdin(Stdio::piped()));
    let mut ip = ip.spawn().expect("ip");
    let mut lines = ip.stdin.take().expect("its input");
    // Two at once: not every kernel has others.
    for number in 0..count / 2 {
        writeln!(lines, "link add d{number} type veth peer name e{number}").expect("a line");
        writeln!(lines, "link set d{number} up").expect("a line");
        writeln!(lines, "link set e{number} up").expect("a line");
    }
    drop(lines);
    assert!(ip.wait().expect("ip").success());
}

/// Processor time of all threads, in ticks of the system's clock.
fn spent(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("its times");
    let (_, fields) = stat.rsplit_once(')').expect("its name");
    // utime and stime: proc_pid_stat(5).
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
