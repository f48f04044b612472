//! One flow that grows when it is told to.

use std::io::{self, BufRead, Write};

use crate::{
    Options, tcp,
    truth::{Flow, Truth, holding},
    udp,
};

/// Sends each time that a line comes in, and says when it did; gives back how often.
fn step(mut send: impl FnMut() -> io::Result<()>) -> io::Result<usize> {
    holding();
    let mut steps = 0;
    for line in io::stdin().lock().lines() {
        line?;
        send()?;
        steps += 1;
        holding();
    }
    Ok(steps)
}

pub(crate) fn make(options: &Options, is_tcp: bool) -> io::Result<Truth> {
    if is_tcp { tcp(options) } else { udp(options) }
}

fn tcp(options: &Options) -> io::Result<Truth> {
    let (to, payload) = (options.target()?, options.payload());
    let mut stream = tcp::connect(options, to)?;
    let local = stream.local_addr()?;
    let steps = step(|| stream.write_all(&payload))?;
    tcp::finish(&mut stream)?;
    Ok(Truth::of(vec![Flow::sent(to, "tcp", steps * payload.len()).from(local)]))
}

fn udp(options: &Options) -> io::Result<Truth> {
    let (to, payload) = (options.target()?, options.payload());
    let socket = udp::bound(options, to)?;
    let steps = step(|| socket.send_to(&payload, to).map(drop))?;
    Ok(Truth::of(vec![Flow::sent(to, "udp", steps * payload.len()).from(socket.local_addr()?)]))
}
