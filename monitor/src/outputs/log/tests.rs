//! Which violations have a line, and what stands in it.

use std::net::IpAddr;

use super::*;
use crate::{
    ecs::tests::{bare_record, full_record},
    event::{Domain, DomainSource, Reason, Sender, Traffic},
    metrics::KnownLabels,
    printable::is_unsafe,
};

/// What was written by the log of this test: `fn` pointers hold nothing, so that each line says whose it is.
static WRITTEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn keep(_: LogFormat, line: &Line) {
    let text = match line {
        Line::Of(record) => sentence(record),
        Line::Sum { flows, country, .. } => format!("{flows} to {}", place(*country)),
        Line::LeftOut(count) => format!("{count} left out"),
    };
    WRITTEN.lock().unwrap_or_else(PoisonError::into_inner).push(text);
}

/// A log whose destinations are all below 10.N: its lines are told by that.
struct Rig {
    log: Log,
    metrics: Metrics,
    number: u8,
}

impl Rig {
    fn new(number: u8, violations: Violations) -> Self {
        let metrics = Metrics::new(&KnownLabels::default()).unwrap();
        let wanted = Wanted::default();
        wanted.set(LogConfig { violations, ..LogConfig::default() });
        let log = Log { write: keep, ..Log::new(wanted, &metrics) };
        Self { log, metrics, number }
    }

    fn violation(&self, destination: u16, program: &str) -> Record {
        let mut record = full_record();
        record.judgement.verdict = Verdict::Unapproved;
        let [high, low] = destination.to_be_bytes();
        let to: IpAddr = [10, self.number, high, low].into();
        record.egress.remote = record.egress.remote.map(|it| (to, it.port()).into());
        if let Sender::Process { process, .. } = &mut record.sender {
            Arc::make_mut(process).executable = Some(program.into());
        }
        record
    }

    fn tell(&mut self, record: Record) {
        let growth = Traffic::default();
        let told = Delivery {
            record: record.into(),
            growth,
            attempts: false,
            begins: true,
            violates: true,
        };
        self.log.deliver(&told);
    }

    fn left_out(&self, reason: &str) -> u64 {
        self.metrics.log_lines_left_out_total.with_label_values(&[reason]).get()
    }

    /// All lines, once the last is written.
    fn lines(self) -> (Vec<String>, Metrics) {
        let Self { log, metrics, number } = self;
        drop(log);
        let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mine = format!("sent to 10.{number}.");
        (written.into_iter().filter(|line| line.contains(&mine)).collect(), metrics)
    }
}

#[test]
fn the_first_violation_of_each_program_and_destination_has_a_line_and_the_others_are_counted() {
    let mut rig = Rig::new(1, Violations::First);
    for _ in 0..5 {
        for (destination, program) in [(1, "/bin/a"), (1, "/bin/b"), (2, "/bin/a")] {
            rig.tell(rig.violation(destination, program));
        }
    }
    assert_eq!((rig.left_out("known"), rig.left_out("rate")), (12, 0));
    let (lines, _) = rig.lines();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].starts_with("violation: /bin/a (pid "), "{lines:#?}");
}

#[test]
fn all_have_a_line_where_all_are_wanted_and_none_where_none_is() {
    let mut rig = Rig::new(2, Violations::All);
    for _ in 0..5 {
        rig.tell(rig.violation(1, "/bin/a"));
    }
    rig.log.wanted.set(LogConfig { violations: Violations::Off, ..LogConfig::default() });
    rig.tell(rig.violation(9, "/bin/a"));
    assert_eq!(LEFT_OUT.map(|reason| rig.left_out(reason)), [0, 0, 0]);
    assert_eq!(rig.lines().0.len(), 5);
}

#[test]
fn so_many_lines_a_minute_are_written_and_what_had_none_may_have_one_the_minute_after() {
    let mut rig = Rig::new(3, Violations::First);
    rig.log.tick(7 * MINUTE_NS);
    for destination in 0..100 {
        rig.tell(rig.violation(destination, "/bin/a"));
    }
    assert_eq!(rig.left_out("rate"), 40);
    rig.log.tick(7 * MINUTE_NS + 1);
    assert_eq!(rig.log.left_out, 40, "it is told once a minute");
    rig.log.tick(8 * MINUTE_NS);
    assert_eq!(rig.log.left_out, 0);
    for destination in 0..100 {
        rig.tell(rig.violation(destination, "/bin/a"));
    }
    assert_eq!((rig.left_out("known"), rig.left_out("rate")), (60, 40));
    assert_eq!(rig.lines().0.len(), 100);
    let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(written.iter().any(|line| line == "40 left out"), "{written:#?}");
}

#[test]
fn who_reads_the_log_too_slowly_holds_up_nobody() {
    static GATE: Mutex<()> = Mutex::new(());
    let shut = GATE.lock().unwrap();
    let mut rig = Rig::new(4, Violations::All);
    rig.log.write = |format, line| {
        drop(GATE.lock());
        keep(format, line);
    };
    for _ in 0..1000 {
        rig.tell(rig.violation(1, "/bin/a"));
    }
    let slow = rig.left_out("slow");
    // One may have been taken out already.
    assert!((1000 - WAITING as u64 - 1..=1000 - WAITING as u64).contains(&slow), "{slow}");
    drop(shut);
    let (lines, _) = rig.lines();
    assert_eq!(lines.len() as u64 + slow, 1000);
}

#[test]
fn ever_new_destinations_take_a_bounded_memory() {
    let mut known = Known::default();
    for number in 0..(5 * KNOWN as u64) {
        let key = known.hash(number);
        assert!(!known.has(key));
        known.add(key);
        assert!(known.has(key));
        assert!(known.now.len() + known.before.len() <= 2 * KNOWN);
    }
    let last = known.hash(5 * KNOWN as u64 - KNOWN as u64);
    assert!(known.has(last), "the newer half at least is known");
}

#[test]
fn flows_that_are_told_together_have_a_line_for_each_user_and_country() {
    let mut rig = Rig::new(5, Violations::First);
    let record = rig.violation(1, "/bin/a");
    let sum = |id| Sum {
        at: record.egress.started_at,
        user: Some(User { id, name: None }),
        place: record.place.clone(),
        judgement: record.judgement.clone(),
        provenance: None,
        flows: 77_123,
        traffic: Traffic::default(),
    };
    for id in [1, 2, 1, 2, 1] {
        rig.log.add_up(&sum(id));
    }
    assert_eq!(rig.left_out("known"), 3);
    let _ = rig.lines();
    let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(written.iter().filter(|line| line.starts_with("77123 to ")).count(), 2);
}

#[test]
fn a_line_says_who_sent_where_and_why_and_no_name_in_it_does_anything() {
    const EVIL: &str = "a\n<0>b\u{1b}[2J\u{202e}c";
    let rig = Rig::new(6, Violations::First);
    let mut record = rig.violation(1, EVIL);
    if let Sender::Process { process, .. } = &mut record.sender {
        let process = Arc::make_mut(process);
        process.user.name = Some(EVIL.into());
        process.unit = Some(EVIL.into());
        process.container = Some(EVIL.into());
    }
    let source = DomainSource::Dns;
    record.place.domain = Some(Domain { name: EVIL.into(), source, is_trusted: true });
    record.place.operator = Some(Arc::new(Operator {
        asn: Some(7),
        name: Some(EVIL.into()),
        country: None,
        is_anycast: false,
    }));
    record.judgement.reason = Reason::Rule(EVIL.into());
    let line = sentence(&record);
    assert!(!line.contains(is_unsafe), "{line:?}");
    assert_eq!(line.matches("a\\n<0>b").count(), 7, "{line}");
    let line = sentence(&rig.violation(1, "/usr/bin/curl"));
    for part in
        ["/usr/bin/curl (pid ", ", user ", "sent to 10.6.0.1", " by tcp in ", "; reason ", ", id "]
    {
        assert!(line.contains(part), "{part} in {line}");
    }
    let nobody = sentence(&bare_record());
    assert!(nobody.starts_with("violation: "), "{nobody}");
}
