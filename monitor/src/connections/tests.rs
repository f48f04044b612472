//! Bounds on connections, asked of a real listener on loopback. Knows nothing of what is served.

use std::net::SocketAddr;

use axum::{http::StatusCode, response::IntoResponse as _, routing::get};
use prometheus::Opts;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, oneshot},
};

use super::*;

/// Nothing runs out while a test runs.
const LONG: Duration = Duration::from_hours(1);
const BOUNDS: Bounds = Bounds {
    connections: 4,
    of_peer: 4,
    first_request: LONG,
    idle: LONG,
    grace: Duration::from_millis(1),
};

struct Site {
    address: SocketAddr,
    counted: IntCounterVec,
    /// Lets `/slow` answer.
    release: Arc<Notify>,
    end: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
}

async fn site(bounds: Bounds) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counted =
        IntCounterVec::new(Opts::new("refused", "refused"), &["listener", "reason"]).unwrap();
    let release = Arc::new(Notify::new());
    let waits = Arc::clone(&release);
    let slow = move || {
        let waits = Arc::clone(&waits);
        async move {
            waits.notified().await;
            "slow\n"
        }
    };
    let large = || async { vec![b'x'; 64 << 20] };
    let router = Router::new()
        .route("/", get(|| async { "quick\n" }))
        .route("/slow", get(slow))
        .route("/large", get(large));
    let refusal = |reason| (StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
    let served = Served { router, refusal, bounds, counted: (counted.clone(), METRICS) };
    let (end, ended) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(listener, served, async {
        let _ = ended.await;
    }));
    Site { address, counted, release, end: Some(end), served }
}

impl Site {
    fn counted(&self, reason: &str) -> u64 {
        self.counted.with_label_values(&[METRICS, reason]).get()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn ask(&self, path: &str) -> TcpStream {
        let mut stream = self.connect().await;
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }
}

/// Until `text` is at its end.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = String::new();
    while !read.ends_with(text) {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed after {read:?}");
        read += std::str::from_utf8(&buffer[..count]).unwrap();
    }
    read
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    // A reset is an end, too.
    stream.read_to_end(&mut rest).await.map_or(true, |_| rest.is_empty())
}

#[tokio::test]
async fn a_newcomer_takes_the_place_of_the_idlest() {
    let site = site(BOUNDS).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(site.connect().await);
    }
    let mut newcomer = site.ask("/").await;
    assert!(read_until(&mut newcomer, "quick\n").await.starts_with("HTTP/1.1 200"));
    assert_eq!(site.counted(refused::DISPLACED), 37, "41 wanted 4 places");
    for (number, stream) in idle.iter_mut().take(37).enumerate() {
        assert!(is_closed(stream).await, "{number}");
    }
    assert!(idle[39].write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok());
    read_until(&mut idle[39], "quick\n").await;
}

#[tokio::test]
async fn nobody_who_is_being_answered_makes_way_and_the_newcomer_is_told_so() {
    let site = site(BOUNDS).await;
    let mut busy = Vec::new();
    for _ in 0..4 {
        busy.push(site.ask("/slow").await);
    }
    // Until all four are taken in: a fifth is idle meanwhile, and displaced by the next.
    let said = loop {
        let mut newcomer = site.ask("/").await;
        let mut first = [0; 1024];
        let count = newcomer.read(&mut first).await.unwrap_or(0);
        let said = String::from_utf8_lossy(&first[..count]).into_owned();
        if said.contains(" 503 ") {
            break said;
        }
    };
    assert!(said.ends_with(refused::PEER), "{said}");
    assert!(site.counted(refused::PEER) >= 1);
    for mut stream in busy {
        site.release.notify_one();
        assert!(read_until(&mut stream, "slow\n").await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_request_that_never_becomes_whole_is_cut_and_counted() {
    let site = site(Bounds { first_request: Duration::from_millis(50), ..BOUNDS }).await;
    let mut silent = site.connect().await;
    let mut slow = site.connect().await;
    let _ = slow.write_all(b"GET / HTTP/1.1\r\nhost: ").await;
    assert!(is_closed(&mut silent).await && is_closed(&mut slow).await);
    assert_eq!(site.counted(refused::LATE), 2);
}

#[tokio::test]
async fn an_answer_that_is_not_read_does_not_keep_its_place() {
    let site = site(Bounds { idle: Duration::from_millis(50), ..BOUNDS }).await;
    let mut unread = site.ask("/large").await;
    // It is closed while most of its answer is still here.
    let mut quick = site.ask("/").await;
    read_until(&mut quick, "quick\n").await;
    assert!(is_closed(&mut quick).await, "idle after its answer");
    let mut rest = Vec::new();
    let read = unread.read_to_end(&mut rest).await;
    assert!(read.is_err() || rest.len() < 64 << 20, "{} bytes came", rest.len());
    assert_eq!(site.counted(refused::LATE), 0);
}

#[tokio::test]
async fn an_answer_under_way_outlasts_every_timeout() {
    let site = site(Bounds { idle: Duration::from_millis(20), ..BOUNDS }).await;
    let mut stream = site.ask("/slow").await;
    for _ in 0..5 {
        // Closed after its answer when its time is up.
        let mut other = site.ask("/").await;
        read_until(&mut other, "quick\n").await;
        assert!(is_closed(&mut other).await);
    }
    site.release.notify_one();
    read_until(&mut stream, "slow\n").await;
}

#[tokio::test]
async fn the_end_waits_for_an_answer_under_way_and_not_for_the_idle() {
    let mut site = site(Bounds { grace: LONG, ..BOUNDS }).await;
    let mut idle = site.ask("/").await;
    read_until(&mut idle, "quick\n").await;
    let mut stream = site.ask("/slow").await;
    // Once it answers somebody else, it has taken the slow one in.
    read_until(&mut site.ask("/").await, "quick\n").await;
    drop(site.end.take());
    assert!(is_closed(&mut idle).await);
    site.release.notify_one();
    read_until(&mut stream, "slow\n").await;
    site.served.await.unwrap();
}

#[test]
fn a_peer_has_its_share_and_displaces_its_own() {
    let bounds = Bounds { connections: 4, of_peer: 3, ..BOUNDS };
    let table = Table::new(bounds);
    let (greedy, other) = (Peer::User(1000), Peer::User(0));
    let placed = |peer| match table.admit(peer) {
        Admission::Placed { ticket, displaced } => (ticket, displaced),
        Admission::Refused(reason) => panic!("refused: {reason}"),
    };
    let mut held: Vec<_> = (0..3).map(|_| placed(greedy)).collect();
    let (others, displaced) = placed(other);
    assert!(!displaced, "its share was not the greedy one's to take");
    held.push(placed(greedy));
    assert!(held[3].1);
    // Full: the greedy one makes way, although the other's is as idle.
    let (_second, displaced) = placed(other);
    assert!(displaced);
    let turn = others.begin();
    let turns: Vec<_> = held.iter().map(|(ticket, _)| ticket.begin()).collect();
    assert!(matches!(table.admit(greedy), Admission::Placed { displaced: true, .. }));
    drop((turn, turns));
}

#[test]
fn one_host_is_one_peer_whatever_address_of_its_network_it_takes() {
    let peer = |address: &str| Peer::at(address.parse().unwrap());
    assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
    assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
    assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
    assert_ne!(peer("192.0.2.2"), peer("192.0.2.1"));
}

#[test]
fn few_descriptors_make_few_connections_and_two_peers_still_have_a_place() {
    let all = Bounds { connections: 64, of_peer: 32, ..BOUNDS };
    assert_eq!(all.within(4096).connections, 64);
    let few = all.within(256);
    assert_eq!((few.connections, few.of_peer), (32, 16));
    let fewest = all.within(0);
    assert_eq!((fewest.connections, fewest.of_peer), (2, 1));
}
