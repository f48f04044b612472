//! Senders that are hard to name: gone at once, forked, or another program a moment ago.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::unix::{net::UnixDatagram, process::CommandExt},
    process::Command,
};

use crate::{
    Kind, Options, hold,
    socket::{self, check},
    tcp,
    truth::{Flow, Truth},
    udp,
};

/// Leaves without running anything: no destructors, no flush.
fn leave(status: i32) -> ! {
    // SAFETY: _exit(2) takes no pointers and does not return.
    unsafe { libc::_exit(status) }
}

/// The truth must come first: nothing comes after the datagram.
pub(crate) fn one_shot(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = udp::bound(options, to)?;
    let payload = options.payload();
    let flow = Flow::sent(to, "udp", payload.len()).from(socket.local_addr()?);
    Truth::of(vec![flow]).print(Kind::OneShot);
    let sent = socket.send_to(&payload, to);
    leave(i32::from(sent.is_err()))
}

/// Runs `work` in a forked child, and meanwhile `ours` here. Gives back the child's pid and the port
/// that it told.
fn in_child(
    work: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ours: impl FnOnce() -> io::Result<()>,
) -> io::Result<(u32, u16)> {
    let (mut answer, mut told) = io::pipe()?;
    // SAFETY: this process has one thread, so the child may go on as if nothing had happened.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        leave(i32::from(work(&mut told).is_err()));
    }
    drop(told);
    ours()?;
    let mut port = [0; 2];
    answer.read_exact(&mut port)?;
    let mut status = 0;
    // SAFETY: `status` lives through the call.
    check(unsafe { libc::waitpid(pid, &raw mut status, 0) })?;
    if status != 0 {
        return Err(io::Error::other("the child could not send"));
    }
    Ok((pid.cast_unsigned(), u16::from_ne_bytes(port)))
}

/// Says which port it sends from, and sends.
fn tell_and_send(
    told: &mut dyn Write,
    socket: &UdpSocket,
    options: &Options,
    to: SocketAddr,
) -> io::Result<()> {
    told.write_all(&socket.local_addr()?.port().to_ne_bytes())?;
    if socket.peer_addr().is_ok() {
        return socket.send(&options.payload()).map(drop);
    }
    socket.send_to(&options.payload(), to).map(drop)
}

/// A socket for the child to send on.
fn to_hand_over(options: &Options, to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = udp::bound(options, to)?;
    if options.connected {
        socket.connect(to)?;
    }
    Ok(socket)
}

/// The child sent on a socket of this process.
fn truth_of_other(child: (u32, u16), options: &Options, to: SocketAddr) -> Truth {
    Truth { creator: Some(std::process::id()), ..truth_of_child(child, options, to) }
}

fn truth_of_child((pid, port): (u32, u16), options: &Options, to: SocketAddr) -> Truth {
    let flow = Flow { source_port: Some(port), ..Flow::sent(to, "udp", options.bytes) };
    Truth { pid, ..Truth::of(vec![flow]) }
}

pub(crate) fn fork_send_exit(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let child =
        in_child(|told| tell_and_send(told, &udp::bound(options, to)?, options, to), || Ok(()))?;
    Ok(truth_of_child(child, options, to))
}

pub(crate) fn fork_inherited(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let socket = to_hand_over(options, to)?;
    let child = in_child(|told| tell_and_send(told, &socket, options, to), || Ok(()))?;
    Ok(truth_of_other(child, options, to))
}

/// As a daemon is made: forked twice, in a session of its own.
pub(crate) fn daemonized(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let (mut answer, mut told) = io::pipe()?;
    in_child(
        |done| {
            // SAFETY: setsid(2) takes no pointers.
            check(unsafe { libc::setsid() })?;
            let grandchild = in_child(
                |told| tell_and_send(told, &udp::bound(options, to)?, options, to),
                || Ok(()),
            )?;
            told.write_all(&grandchild.0.to_ne_bytes())?;
            told.write_all(&grandchild.1.to_ne_bytes())?;
            done.write_all(&grandchild.1.to_ne_bytes())
        },
        || Ok(()),
    )?;
    let (mut pid, mut port) = ([0; 4], [0; 2]);
    answer.read_exact(&mut pid)?;
    answer.read_exact(&mut port)?;
    let sender = (u32::from_ne_bytes(pid), u16::from_ne_bytes(port));
    Ok(truth_of_child(sender, options, to))
}

/// Gives up root, then sends.
pub(crate) fn unprivileged(options: &Options) -> io::Result<Truth> {
    const NOBODY: u32 = 65_534;
    become_user(NOBODY)?;
    udp::sendto(options)
}

/// Gives up root for good.
pub(crate) fn become_user(uid: u32) -> io::Result<()> {
    // SAFETY: no groups, so the pointer is not read.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: setresgid(2) takes no pointers.
    check(unsafe { libc::setresgid(uid, uid, uid) })?;
    // SAFETY: setresuid(2) takes no pointers.
    check(unsafe { libc::setresuid(uid, uid, uid) }).map(drop)
}

/// The child is there before the socket is, and gets it as a message.
pub(crate) fn scm_rights(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let (giver, taker) = UnixDatagram::pair()?;
    let child = in_child(
        |told| tell_and_send(told, &UdpSocket::from(socket::take(&taker)?), options, to),
        || socket::give(&giver, &to_hand_over(options, to)?),
    )?;
    Ok(truth_of_other(child, options, to))
}

/// The child is there before the connection is, gets it when a line comes in, and keeps it to the end.
pub(crate) fn hold_passed(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let (giver, taker) = UnixDatagram::pair()?;
    let child = in_child(
        |told| {
            let mut stream = TcpStream::from(socket::take(&taker)?);
            // Nobody else holds it any more.
            taker.recv(&mut [0])?;
            stream.write_all(&options.payload())?;
            told.write_all(&stream.local_addr()?.port().to_ne_bytes())?;
            hold::wait_for_the_end()
        },
        || {
            let stream = tcp::connect(options, to)?;
            hold::wait_to_send()?;
            socket::give(&giver, &stream)?;
            drop(stream);
            giver.send(&[0]).map(drop)
        },
    )?;
    let flow = Flow { source_port: Some(child.1), ..Flow::sent(to, "tcp", options.bytes) };
    Ok(Truth { pid: child.0, creator: Some(std::process::id()), ..Truth::of(vec![flow]) })
}

/// The same pid is three programs in a row; the last one is this again and tells the truth.
pub(crate) fn exec_chain(options: &Options) -> io::Result<Truth> {
    let to = options.target()?;
    let itself = std::env::current_exe()?;
    let bytes = options.bytes.to_string();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", r#"exec "$0" "$@""#]).arg(itself);
    shell.args(["udp-sendto", "--to", &to.to_string(), "--bytes", &bytes]);
    Err(shell.exec())
}
