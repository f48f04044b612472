//! Which flows are added up and how they are kept apart, and that sums come back as they were.

use std::io;

use super::{stored::Source, *};
use crate::{
    event::{Process, Rollup, Sender},
    store::{ledger::frame::Summary, tests::history::History},
};

fn head(number: u64) -> Head {
    Head {
        payload_bytes: 9,
        raw_bytes: 9,
        payload_crc: 0,
        number,
        previous: [0; 32],
        follows_unsynced: false,
        summary: Summary::default(),
    }
}

impl Source for Vec<u8> {
    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let bytes = self.get(at as usize..at as usize + length);
        bytes.map(<[u8]>::to_vec).ok_or(io::ErrorKind::UnexpectedEof.into())
    }
}

fn sorted(mut sums: Sums) -> Sums {
    sums.loose.sort_by_key(|it| it.flow);
    sums.flows.sort_by_key(|(key, _)| *key);
    sums
}

/// By country and verdict, numbers are given anew.
fn kinds(sums: &Sums) -> Vec<(String, Sum)> {
    let kind = |key| format!("{:?}", sums.dictionary.kind(key));
    let mut kinds: Vec<(String, Sum)> =
        sums.flows.iter().map(|(key, sum)| (kind(key), *sum)).collect();
    kinds.sort_by(|a, b| a.0.cmp(&b.0));
    kinds
}

fn builder(history: &mut History, blocks: std::ops::Range<u64>, entries: usize) -> SumsBuilder {
    let mut builder = SumsBuilder::of(7, 100, 1);
    for number in blocks {
        builder.add(number * 1000, &head(number), &history.entries(entries));
    }
    builder
}

#[test]
fn sums_come_back_as_they_were_and_not_without_a_part_of_them() {
    let builder = builder(&mut History::new(3), 40..44, 30);
    let told = builder.sums(7, Needs::default()).unwrap();
    assert!(told.flows.len() > 5 && told.loose.len() > 5, "{told:?}");
    assert_eq!((told.next_block, told.end), (44, 43_137));
    let file = builder.finish().unwrap();
    // Nothing keeps the hours apart from all else.
    let all = (0..COLUMNS).filter(|column| *column != HOUR).fold(Needs::default(), Needs::also);
    let mut needed = vec![all];
    needed.extend((0..COLUMNS).map(|column| Needs::default().also(column)));
    for needs in needed.iter().copied() {
        let (told, read) = (builder.sums(7, needs), sums(7, needs, &file).unwrap());
        let (told, mut read) = (sorted(told.unwrap()), sorted(read.unwrap()));
        // The columns that nobody asked for are told where they are at hand.
        read.flows.retain(|(key, _)| told.flows.iter().any(|(it, _)| it == key));
        assert_eq!(read, told, "{needs:?}");
    }
    let read = sums(7, Needs::default(), &file).unwrap().unwrap();
    assert_eq!(kinds(&read), kinds(&told));
    for by in [RolledBy::Kind, RolledBy::Program, RolledBy::Hour] {
        let mut read = rolled(7, by, &file).unwrap().unwrap();
        let mut told = builder.rolled(7, by).unwrap();
        assert!(!told.rows.is_empty());
        for rolled in [&mut read, &mut told] {
            rolled.rows.sort_by_key(|(row, _)| format!("{row:?}"));
        }
        assert_eq!(read, told);
    }
    let (read, told) = (notices(7, &file).unwrap().unwrap(), builder.notices(7).unwrap());
    assert_eq!((read.end, &read.notices), (told.end, &told.notices));
    assert!(!told.notices.is_empty());
    assert_eq!(sums(8, all, &file), Err(Malformed), "of another segment");
    for cut in (1..file.len()).step_by(97) {
        let mut short = file.clone();
        short.truncate(cut);
        let is_told = needed.iter().all(|needs| sums(7, *needs, &short).is_ok())
            && [RolledBy::Program, RolledBy::Hour].iter().all(|by| rolled(7, *by, &short).is_ok())
            && notices(7, &short).is_ok();
        assert!(!is_told, "{cut} of {} bytes", file.len());
    }
}

#[test]
fn a_flow_is_added_up_where_it_is_told_whole_and_else_told_by_itself() {
    let mut history = History::new(5);
    let mut builder = SumsBuilder::of(1, 0, 1);
    let mut record = history.begin();
    let mut tell = |revision: u32, is_over: bool| {
        record.egress.revision = revision;
        record.egress.ended_at = is_over.then_some(record.egress.last_at);
        builder.add(0, &head(1), &[Entry::Flow(record.clone())]);
        let sums = builder.sums(1, Needs::default().also(WHO)).unwrap();
        (sums.flows.len(), sums.loose.iter().map(|it| it.begins).collect::<Vec<_>>())
    };
    assert_eq!(tell(0, false), (0, vec![true]));
    assert_eq!(tell(1, false), (0, vec![true]));
    assert_eq!(tell(2, true), (1, vec![]));
    // Of another, that began before.
    assert_eq!(tell(1, false), (1, vec![false]));
    assert_eq!(tell(2, true), (1, vec![false]));
}

#[test]
fn a_segment_that_too_many_flows_go_beyond_has_no_sums() {
    let mut history = History::new(5);
    let mut builder = SumsBuilder::of(1, 0, 1);
    for number in 0..=LOOSE_MAX as u64 {
        assert!(builder.sums(1, Needs::default()).is_some());
        let mut record = history.begin();
        record.egress.ended_at = None;
        record.egress.flow = FlowId(number.into());
        builder.add(number, &head(number), &[Entry::Flow(record)]);
    }
    assert_eq!((builder.sums(1, Needs::default()), builder.finish()), (None, None));
    assert!(builder.is_at(1, LOOSE_MAX as u64 + head(1).block_bytes()));
}

/// A flow of a program that is over in its only state: the like of `of`, which a process sent.
fn whole(of: &Record, program: u64, port: u16) -> Entry {
    let mut record = of.clone();
    (record.egress.revision, record.egress.ended_at) = (0, Some(record.egress.last_at));
    record.egress.transport = crate::event::Transport::TCP;
    record.egress.remote = Some(([203, 0, 113, 7], port).into());
    if let Sender::Process { process, .. } = &mut record.sender {
        let name = format!("program-{program}").into();
        *process =
            std::sync::Arc::new(Process { name, executable: None, ..Process::clone(process) });
    }
    Entry::Flow(record)
}

/// What some process sent.
fn sent() -> Record {
    let mut history = History::new(9);
    let mut records = std::iter::repeat_with(|| history.begin());
    records.find(|it| it.sender.process().is_some()).unwrap()
}

fn flows(sums: &Sums) -> u64 {
    sums.flows.iter().map(|(_, it)| it.counts.flows + it.counts.attempts).sum()
}

#[test]
fn who_sends_by_ports_without_end_costs_the_ports_and_not_the_programs() {
    let (of, mut builder) = (sent(), SumsBuilder::of(1, 0, 1));
    for port in 1..400 {
        builder.add(0, &head(port), &[whole(&of, 1, port as u16)]);
    }
    let has = |column| builder.sums(1, Needs::default().also(column)).is_some();
    let columns = [WHO, OPERATOR, WHAT, PORT, TO, HOUR, DEVICE];
    assert_eq!(columns.map(has), [true, true, true, false, true, true, true]);
    let sums = builder.sums(1, Needs::default().also(WHO)).unwrap();
    assert_eq!(flows(&sums), 399);
}

#[test]
fn addresses_without_end_behind_this_host_cost_the_devices_and_nothing_else() {
    let (of, mut builder) = (sent(), SumsBuilder::of(1, 0, 1));
    for address in 1..400 {
        let Entry::Flow(mut record) = whole(&of, 1, 443) else { unreachable!("a flow") };
        record.egress.origin = crate::event::Origin::Forwarded;
        record.egress.local = Some((std::net::Ipv4Addr::from_bits(address as u32), 9).into());
        builder.add(0, &head(address), &[Entry::Flow(record)]);
    }
    let has = |column| builder.sums(1, Needs::default().also(column)).map(|sums| flows(&sums));
    assert_eq!(has(DEVICE), None);
    for column in [WHO, OPERATOR, WHAT, PORT, TO, HOUR] {
        assert_eq!(has(column), Some(399), "{column}");
    }
}

#[test]
fn notices_without_end_are_read_from_the_blocks() {
    let mut builder = SumsBuilder::of(1, 0, 1);
    let notice = Entry::Notice { at: Timestamp(7), notice: Notice::Alive };
    for number in 1..400 {
        assert_eq!(builder.notices(1).map(|it| it.notices.len()), Some(number - 1));
        builder.add(0, &head(number as u64), std::slice::from_ref(&notice));
        if builder.notices(1).is_none() {
            assert!(number > 50, "{number}");
            assert_eq!(notices(1, &builder.finish().unwrap()).unwrap().map(|it| it.end), None);
            return;
        }
    }
    panic!("they are all kept");
}

#[test]
fn programs_without_end_leave_sums_by_country_and_verdict() {
    let (of, mut builder) = (sent(), SumsBuilder::of(1, 0, 1));
    for program in 1..400 {
        builder.add(0, &head(program), &[whole(&of, program, 443)]);
    }
    assert_eq!(builder.sums(1, Needs::default().also(WHO)), None);
    let sums = builder.sums(1, Needs::default()).unwrap();
    assert_eq!(flows(&sums), 399);
    let file = builder.finish().unwrap();
    assert_eq!(super::sums(1, Needs::default().also(WHO), &file), Ok(None));
    let read = super::sums(1, Needs::default(), &file).unwrap().unwrap();
    assert_eq!(kinds(&read), kinds(&sums));
}

#[test]
fn rollups_of_a_kind_are_one_sum() {
    let mut history = History::new(5);
    let mut builder = SumsBuilder::of(1, 0, 1);
    let rollups: Vec<Rollup> = std::iter::repeat_with(|| history.entry())
        .filter_map(|entry| if let Entry::Rollup(it) = entry { Some(it) } else { None })
        .take(999)
        .collect();
    let entries: Vec<Entry> = rollups.iter().cloned().map(Entry::Rollup).collect();
    builder.add(0, &head(1), &entries);
    let rows = builder.rolled(1, RolledBy::Kind).unwrap().rows;
    let flows = rows.iter().map(|(_, sum)| sum.counts.flows).sum::<u64>();
    assert_eq!(flows, rollups.iter().map(|it| it.flows).sum::<u64>());
    assert!(rows.len() < 99, "{}", rows.len());
}

#[test]
fn where_memory_is_short_a_table_gives_up_columns_sooner() {
    let of = sent();
    let has_ports = |one_in| {
        let mut builder = SumsBuilder::of(1, 0, one_in);
        for port in 1..40 {
            builder.add(0, &head(port), &[whole(&of, 1, port as u16)]);
        }
        assert_eq!(builder.sums(1, Needs::default().also(WHO)).map(|it| flows(&it)), Some(39));
        builder.sums(1, Needs::default().also(PORT)).is_some()
    };
    assert_eq!([1, 4].map(has_ports), [true, false]);
}
