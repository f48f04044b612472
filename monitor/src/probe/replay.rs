//! Samples and counters in a file: [`Recorder`] writes what a source hands over, [`Replay`] is a
//! source of it, so that most tests need neither root nor kernel.
//!
//! A file is frames of {tag: u8, length: u32 little-endian, bytes}. `S` is a sample, `C` a flow key
//! and its counters, `T` the end of a sweep with its time in nanoseconds of `CLOCK_BOOTTIME`. `P`, at
//! the beginning of a sweep, tells how far samples were submitted and taken in; older ones lack it.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use monitor_ebpf::{
    loss::Loss,
    sample::{FlowCounters, FlowKey, LinkSender, Unitemised, UnitemisedKey},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    Bypassed, InterfaceNames, Mark, ProbeChange, ProbeError, Progress, SeenSince, Source, Waker,
};

const SAMPLE: u8 = b'S';
const COUNTERS: u8 = b'C';
const TICK: u8 = b'T';
const PROGRESS: u8 = b'P';

/// A source that writes down what it passes on.
#[derive(Debug)]
pub struct Recorder<S> {
    inner: S,
    path: PathBuf,
    file: BufWriter<File>,
}

impl<S: Source> Recorder<S> {
    pub fn new(inner: S, path: &Path) -> Result<Self, ProbeError> {
        let file = File::create(path).map_err(|error| recording(path, &error))?;
        Ok(Self { inner, path: path.to_owned(), file: BufWriter::new(file) })
    }
}

fn recording(path: &Path, error: &dyn std::fmt::Display) -> ProbeError {
    ProbeError::Recording { path: path.to_owned(), problem: error.to_string() }
}

/// A failed write shows at the flush that ends each sweep.
fn frame(file: &mut impl Write, tag: u8, bytes: &[u8]) {
    let _ = file.write_all(&[tag]);
    let _ = file.write_all(&(bytes.len() as u32).to_le_bytes());
    let _ = file.write_all(bytes);
}

impl<S: Source> Source for Recorder<S> {
    fn wait(&mut self, timeout: Duration) -> Result<bool, ProbeError> {
        self.inner.wait(timeout)
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }

    fn drain(&mut self, most: usize, each: &mut dyn FnMut(&[u8])) -> usize {
        let file = &mut self.file;
        self.inner.drain(most, &mut |sample| {
            frame(file, SAMPLE, sample);
            each(sample);
        })
    }

    fn changes(&mut self) -> (Vec<ProbeChange>, u64) {
        self.inner.changes()
    }

    fn unknown_interfaces(&self) -> Vec<String> {
        self.inner.unknown_interfaces()
    }

    fn collect(&mut self) {
        self.inner.collect();
    }

    fn collect_all(&mut self) {
        self.inner.collect_all();
    }

    fn progress(&mut self) -> Progress {
        let progress = self.inner.progress();
        let marks = [progress.submitted, progress.taken_in];
        frame(&mut self.file, PROGRESS, &marks.map(|mark| (mark.0 as u64).to_le_bytes()).concat());
        progress
    }

    fn sweep(&mut self, each: &mut dyn FnMut(FlowKey, FlowCounters)) -> Result<(), ProbeError> {
        let file = &mut self.file;
        self.inner.sweep(&mut |key, counters| {
            let mut bytes = key.as_bytes().to_vec();
            bytes.extend_from_slice(counters.as_bytes());
            frame(file, COUNTERS, &bytes);
            each(key, counters);
        })?;
        frame(file, TICK, &self.inner.now_ns().to_le_bytes());
        file.flush().map_err(|error| recording(&self.path, &error))
    }

    fn counters(&mut self, flow: &FlowKey) -> Option<FlowCounters> {
        self.inner.counters(flow)
    }

    fn seen(&mut self) -> Option<SeenSince> {
        self.inner.seen()
    }

    fn forget(&mut self, flows: &[FlowKey]) -> Result<(), ProbeError> {
        self.inner.forget(flows)
    }

    fn losses(&self) -> Result<[u64; Loss::ALL.len()], ProbeError> {
        self.inner.losses()
    }

    fn unitemised(&mut self) -> Vec<(UnitemisedKey, Unitemised)> {
        self.inner.unitemised()
    }

    fn forget_unitemised(&mut self, keys: &[UnitemisedKey]) {
        self.inner.forget_unitemised(keys);
    }

    fn housekeeping_frames(&self) -> Result<u64, ProbeError> {
        self.inner.housekeeping_frames()
    }

    fn without_flow(&self) -> Result<(u64, u64), ProbeError> {
        self.inner.without_flow()
    }

    fn waiting(&self) -> usize {
        self.inner.waiting()
    }

    fn interfaces(&mut self) -> Option<InterfaceNames> {
        self.inner.interfaces()
    }

    fn unattributed_bytes(&self) -> u64 {
        self.inner.unattributed_bytes()
    }

    fn bypassed(&self) -> Vec<Bypassed> {
        self.inner.bypassed()
    }

    fn link_senders(&self) -> Option<Vec<(u32, LinkSender)>> {
        self.inner.link_senders()
    }

    fn now_ns(&self) -> u64 {
        self.inner.now_ns()
    }
}

/// A recorded source. Time is that of the recording, sweep by sweep.
#[derive(Debug, Default)]
pub struct Replay {
    frames: VecDeque<(u8, Vec<u8>)>,
    now_ns: u64,
}

impl Replay {
    pub fn open(path: &Path) -> Result<Self, ProbeError> {
        let bytes = fs::read(path).map_err(|error| recording(path, &error))?;
        Self::parse(&bytes).ok_or_else(|| recording(path, &"is cut short or no recording"))
    }

    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut frames = VecDeque::new();
        while let Some((tag, rest)) = bytes.split_first() {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            frames.push_back((*tag, body.to_vec()));
            bytes = rest;
        }
        Some(Self { frames, now_ns: 0 })
    }

    fn next_is(&self, tag: u8) -> bool {
        self.frames.front().is_some_and(|frame| frame.0 == tag)
    }
}

impl Source for Replay {
    fn wait(&mut self, _timeout: Duration) -> Result<bool, ProbeError> {
        Ok(!self.frames.is_empty())
    }

    fn drain(&mut self, most: usize, each: &mut dyn FnMut(&[u8])) -> usize {
        let mut drained = 0;
        while drained < most
            && self.next_is(SAMPLE)
            && let Some((_, sample)) = self.frames.pop_front()
        {
            each(&sample);
            drained += 1;
        }
        drained
    }

    fn progress(&mut self) -> Progress {
        if self.next_is(PROGRESS)
            && let Some((_, bytes)) = self.frames.pop_front()
            && let Some((submitted, taken_in)) = bytes.split_first_chunk::<8>()
            && let Ok(taken_in) = taken_in.try_into()
        {
            let mark = |bytes| Mark(u64::from_le_bytes(bytes) as usize);
            return Progress { submitted: mark(*submitted), taken_in: mark(taken_in) };
        }
        Progress::default()
    }

    fn sweep(&mut self, each: &mut dyn FnMut(FlowKey, FlowCounters)) -> Result<(), ProbeError> {
        while self.next_is(COUNTERS)
            && let Some((_, bytes)) = self.frames.pop_front()
        {
            if let Ok((key, rest)) = FlowKey::read_from_prefix(&bytes)
                && let Ok(counters) = FlowCounters::read_from_bytes(rest)
            {
                each(key, counters);
            }
        }
        if self.next_is(TICK)
            && let Some((_, bytes)) = self.frames.pop_front()
            && let Ok(now) = bytes.try_into()
        {
            self.now_ns = u64::from_le_bytes(now);
        }
        Ok(())
    }

    fn forget(&mut self, _flows: &[FlowKey]) -> Result<(), ProbeError> {
        Ok(())
    }

    fn losses(&self) -> Result<[u64; Loss::ALL.len()], ProbeError> {
        Ok([0; Loss::ALL.len()])
    }

    fn is_sweep_due(&self, _at_ns: u64) -> bool {
        !self.next_is(SAMPLE)
    }

    fn is_recorded(&self) -> bool {
        true
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_plays_back_what_was_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        let key = FlowKey { cookie: 7, ..FlowKey::default() };
        let counters = FlowCounters { sent_bytes: 60, ..FlowCounters::default() };
        let mut bytes = key.as_bytes().to_vec();
        bytes.extend_from_slice(counters.as_bytes());
        let tick = 5_u64.to_le_bytes().to_vec();
        let source = Replay {
            frames: [(SAMPLE, vec![1, 2]), (COUNTERS, bytes), (TICK, tick)].into(),
            now_ns: 0,
        };
        let play = |source: &mut dyn Source| {
            let (mut samples, mut flows) = (Vec::new(), Vec::new());
            source.drain(9, &mut |sample| samples.push(sample.to_vec()));
            source.sweep(&mut |key, counters| flows.push((key, counters))).unwrap();
            (samples, flows, source.now_ns(), source.wait(Duration::ZERO).unwrap())
        };
        let recorded = play(&mut Recorder::new(source, &path).unwrap());
        assert_eq!(recorded.1, [(key, counters)]);
        assert_eq!(recorded, play(&mut Replay::open(&path).unwrap()));
    }

    /// A source that tells more than samples and counters.
    #[derive(Debug, Default)]
    struct Telling(Replay);

    impl Source for Telling {
        fn wait(&mut self, timeout: Duration) -> Result<bool, ProbeError> {
            self.0.wait(timeout)
        }

        fn drain(&mut self, most: usize, each: &mut dyn FnMut(&[u8])) -> usize {
            self.0.drain(most, each)
        }

        fn sweep(&mut self, each: &mut dyn FnMut(FlowKey, FlowCounters)) -> Result<(), ProbeError> {
            self.0.sweep(each)
        }

        fn forget(&mut self, flows: &[FlowKey]) -> Result<(), ProbeError> {
            self.0.forget(flows)
        }

        fn losses(&self) -> Result<[u64; Loss::ALL.len()], ProbeError> {
            self.0.losses()
        }

        fn housekeeping_frames(&self) -> Result<u64, ProbeError> {
            Ok(7)
        }

        fn without_flow(&self) -> Result<(u64, u64), ProbeError> {
            Ok((2, 70))
        }

        fn progress(&mut self) -> Progress {
            Progress { submitted: Mark(9), taken_in: Mark(8) }
        }

        fn waiting(&self) -> usize {
            3
        }

        fn interfaces(&mut self) -> Option<InterfaceNames> {
            Some(InterfaceNames::default())
        }

        fn unattributed_bytes(&self) -> u64 {
            4
        }

        fn bypassed(&self) -> Vec<Bypassed> {
            vec![Bypassed { ifindex: 5, bytes: 60, packets: 1 }]
        }

        fn link_senders(&self) -> Option<Vec<(u32, LinkSender)>> {
            Some(vec![(6, LinkSender::default())])
        }

        fn now_ns(&self) -> u64 {
            self.0.now_ns()
        }
    }

    #[test]
    fn a_recorder_passes_on_what_it_does_not_write_down() {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder =
            Recorder::new(Telling::default(), &dir.path().join("recording")).unwrap();
        assert_eq!((recorder.waiting(), recorder.unattributed_bytes()), (3, 4));
        assert_eq!(recorder.housekeeping_frames().unwrap(), 7);
        assert_eq!(recorder.without_flow().unwrap(), (2, 70));
        assert_eq!(recorder.bypassed(), Telling::default().bypassed());
        assert_eq!(recorder.link_senders().map(|it| it.len()), Some(1));
        assert!(recorder.interfaces().is_some());
    }

    #[test]
    fn how_far_samples_were_is_recorded_and_played_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        let mut recorder = Recorder::new(Telling::default(), &path).unwrap();
        let told = recorder.progress();
        recorder.sweep(&mut |_, _| {}).unwrap();
        let mut replay = Replay::open(&path).unwrap();
        assert_eq!(replay.progress(), told);
        replay.sweep(&mut |_, _| {}).unwrap();
        assert_eq!(replay.progress(), Progress::default(), "of a recording without");
    }

    #[test]
    fn a_torn_recording_is_refused() {
        assert!(Replay::parse(&[SAMPLE, 9, 0, 0, 0, 1]).is_none());
    }
}
