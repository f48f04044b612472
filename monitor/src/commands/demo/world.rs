//! Two network namespaces and a cable: a host that sends, and an internet that owns the documentation
//! addresses. Nothing leads out of them, and they end with this process.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener},
    os::fd::AsRawFd as _,
    process::{Command, ExitStatus},
    thread,
};

use anyhow::{Context as _, Result};
use rtnetlink::{
    Handle, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::route::{RouteScope, RouteType},
};
use tokio::runtime::Builder;

use crate::netns::Inhabitant;

/// The networks of RFC 5737 and RFC 3849 that the internet's side owns.
const NETWORKS: [(IpAddr, u8); 3] = [
    (IpAddr::V4(Ipv4Addr::new(203, 0, 113, 0)), 24),
    (IpAddr::V4(Ipv4Addr::new(198, 51, 100, 0)), 24),
    (IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0)), 48),
];
/// Both ends of the cable.
const HOST: Side = Side { device: "wan", number: 2 };
const INTERNET: Side = Side { device: "lan", number: 1 };
/// `RT_TABLE_LOCAL` (`linux/rtnetlink.h`).
const LOCAL_TABLE: u32 = 255;

#[derive(Clone, Copy)]
struct Side {
    device: &'static str,
    number: u8,
}

impl Side {
    fn addresses(self) -> [(IpAddr, u8); 2] {
        let v6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, self.number.into());
        [(Ipv4Addr::new(10, 77, 0, self.number).into(), 24), (v6.into(), 64)]
    }

    /// The address of the family of `of`.
    fn toward(self, of: IpAddr) -> IpAddr {
        let [v4, v6] = self.addresses().map(|(address, _)| address);
        if of.is_ipv4() { v4 } else { v6 }
    }
}

/// Where TCP programs find someone listening.
pub(super) const PORT: u16 = 443;

pub(super) struct World {
    host: Inhabitant,
    _internet: Inhabitant,
}

impl World {
    pub(super) fn new() -> Result<World> {
        let (host, internet) = (Inhabitant::new("demo-host")?, Inhabitant::new("demo-internet")?);
        let there = internet.place().as_raw_fd();
        in_it(&host, async move |handle| lay_cable(&handle, there).await)?;
        in_it(&internet, async |handle| {
            set_up(&handle, INTERNET).await?;
            own_networks(&handle).await
        })?;
        in_it(&host, async |handle| {
            set_up(&handle, HOST).await?;
            lead_to_networks(&handle).await
        })?;
        internet.within(serve).context("the internet's side ended")??;
        Ok(World { host, _internet: internet })
    }

    /// Runs a program on the host's side to its end.
    pub(super) fn run(&self, mut command: Command) -> Result<ExitStatus> {
        let done = self.host.within(move || command.status());
        Ok(done.context("the host's side ended")??)
    }
}

/// Where the thread lives, with a connection to rtnetlink(7) of that namespace.
fn in_it(
    side: &Inhabitant,
    work: impl AsyncFnOnce(Handle) -> Result<()> + Send + 'static,
) -> Result<()> {
    let work = move || {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            work(handle).await
        })
    };
    side.within(work).context("a side of the cable ended")?
}

async fn lay_cable(handle: &Handle, internet: i32) -> Result<()> {
    let cable = LinkVeth::new(HOST.device, INTERNET.device).build();
    handle.link().add(cable).execute().await.context("a pair of virtual Ethernet devices")?;
    let far = index(INTERNET.device)?;
    let moved = LinkUnspec::new_with_index(far).setns_by_fd(internet).build();
    handle.link().set(moved).execute().await.context("one end into the other namespace")
}

async fn set_up(handle: &Handle, side: Side) -> Result<()> {
    // Without duplicate detection an IPv6 address can be used at once. Where there is no IPv6 there is no file.
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{}/accept_dad", side.device), "0");
    let index = index(side.device)?;
    for (address, length) in side.addresses() {
        let added = handle.address().add(index, address, length).execute().await;
        added.with_context(|| format!("{address} on {}", side.device))?;
    }
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.context("the cable up")
}

/// Every address of these networks is at home here.
async fn own_networks(handle: &Handle) -> Result<()> {
    let loopback = index("lo")?;
    for (network, length) in NETWORKS {
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(network, length)?
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .table_id(LOCAL_TABLE)
            .output_interface(loopback)
            .build();
        let added = handle.route().add(route).execute().await;
        added.with_context(|| format!("{network}/{length} on the internet's side"))?;
    }
    Ok(())
}

async fn lead_to_networks(handle: &Handle) -> Result<()> {
    for (network, length) in NETWORKS {
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(network, length)?
            .gateway(INTERNET.toward(network))?
            .build();
        let added = handle.route().add(route).execute().await;
        added.with_context(|| format!("a route to {network}/{length}"))?;
    }
    Ok(())
}

/// Number of an interface of this thread's namespace.
fn index(device: &str) -> Result<u32> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    rustix::net::netdevice::name_to_index(&socket, device).with_context(|| format!("no {device}"))
}

/// Takes every connection to the port of the programs, and reads it to its end.
fn serve() -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))?;
    // The thread inherits the namespace. It ends with the process.
    let taker = move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
        }
    };
    thread::Builder::new().name("demo-server".to_owned()).spawn(taker)?;
    Ok(())
}
