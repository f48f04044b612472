//! The processes around one, as records tell of them: its parents above, what it started below, and what each of
//! them sent. A number is used again, so a process is its number and when it began. Adds up; reads nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    ecs::{Event, ProcessFields, Time},
    event::{Phase, script_of},
    table::{self, bytes, printable},
};

/// Most processes that are kept; what they and their children sent is told of the rest together.
const PROCESSES_MAX: usize = 10_000;

/// A number, and when the process began, as far as that is known.
type Key = (u32, Option<Time>);

/// What one process is, and what it sent.
#[derive(Debug, Default, Serialize)]
struct Node {
    pid: u32,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Time>,
    flows: u64,
    attempts: u64,
    violations: u64,
    sent_bytes: u64,
    countries: Vec<String>,
    #[serde(skip)]
    parent: Option<Key>,
    /// How many are above it in the tree.
    depth: usize,
    /// The lines that lead to it.
    #[serde(skip)]
    branch: String,
}

impl Node {
    /// What was met of the same process.
    fn join(&mut self, other: Self) {
        let Self { executable, command_line, script, countries, parent, .. } = other;
        self.executable = self.executable.take().or(executable);
        self.command_line = self.command_line.take().or(command_line);
        self.script = self.script.take().or(script);
        self.parent = self.parent.or(parent);
        self.flows += other.flows;
        self.attempts += other.attempts;
        self.violations += other.violations;
        self.sent_bytes = self.sent_bytes.saturating_add(other.sent_bytes);
        let known = std::mem::take(&mut self.countries);
        let more = countries.into_iter().filter(|it| !known.contains(it)).collect::<Vec<_>>();
        self.countries = known.into_iter().chain(more).collect();
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    pid: u32,
    nodes: BTreeMap<Key, Node>,
    left_out: u64,
}

impl Tree {
    pub(super) fn of(pid: u32) -> Self {
        Self { pid, nodes: BTreeMap::new(), left_out: 0 }
    }

    /// Whether the event is of that process, or of one that it started.
    pub(super) fn add(&mut self, event: &Event<'_>) -> bool {
        let Some(process) = &event.process else { return false };
        if !line(process).any(|it| it.pid == self.pid) {
            return false;
        }
        let key = key(process);
        if self.nodes.len() >= PROCESSES_MAX && !self.nodes.contains_key(&key) {
            self.left_out += 1;
            return true;
        }
        for it in line(process) {
            self.nodes.entry(self::key(it)).or_insert_with(|| node(it));
        }
        let Some(node) = self.nodes.get_mut(&key) else { return true };
        let is_attempt = event.geofenced.phase == Phase::Attempt.word();
        node.attempts += u64::from(is_attempt);
        node.flows += u64::from(!is_attempt);
        node.violations += u64::from(event.is_violation());
        node.sent_bytes = node.sent_bytes.saturating_add(event.source.bytes);
        let country = event.destination.geo.as_ref().map(|it| it.country_iso_code.to_string());
        if let Some(country) = country.filter(|it| !node.countries.contains(it)) {
            node.countries.push(country);
        }
        true
    }

    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// One that was met as a parent, of whom not always is known when it began, is the one of its number that was met
    /// with it, if that is one.
    fn merge(&mut self) {
        let mut begun: BTreeMap<u32, Option<Key>> = BTreeMap::new();
        for key in self.nodes.keys().filter(|key| key.1.is_some()) {
            begun.entry(key.0).and_modify(|it| *it = None).or_insert(Some(*key));
        }
        let same = |key: Key| match (key.1, begun.get(&key.0)) {
            (None, Some(Some(begun))) => *begun,
            _ => key,
        };
        let nodes = std::mem::take(&mut self.nodes);
        let (known, vague): (Vec<_>, Vec<_>) =
            nodes.into_iter().partition(|(key, _)| same(*key) == *key);
        self.nodes.extend(known);
        for (key, vague) in vague {
            if let Some(node) = self.nodes.get_mut(&same(key)) {
                node.join(vague);
            }
        }
        for node in self.nodes.values_mut() {
            node.parent = node.parent.map(same);
        }
    }

    /// Parents before their children, those before their sisters, each with how deep it stands.
    fn ordered(mut self) -> Vec<Node> {
        self.merge();
        let mut children: BTreeMap<Option<Key>, Vec<Key>> = BTreeMap::new();
        for (key, node) in &self.nodes {
            // One that says it is its own parent is at the top.
            let parent = node.parent.filter(|it| it != key && self.nodes.contains_key(it));
            children.entry(parent).or_default().push(*key);
        }
        let tops = children.remove(&None).unwrap_or_default();
        let mut left: Vec<(Key, usize, String, String)> =
            tops.into_iter().rev().map(|it| (it, 0, String::new(), String::new())).collect();
        let mut ordered = Vec::with_capacity(self.nodes.len());
        while let Some((key, depth, branch, before)) = left.pop() {
            let Some(mut node) = self.nodes.remove(&key) else { continue };
            (node.depth, node.branch) = (depth, branch);
            ordered.push(node);
            let below = children.remove(&Some(key)).unwrap_or_default();
            // The last one ends the line that the others hang on.
            for (nth, it) in below.into_iter().rev().enumerate() {
                let (turn, passes) = if nth == 0 { ("└ ", "  ") } else { ("├ ", "│ ") };
                left.push((it, depth + 1, format!("{before}{turn}"), format!("{before}{passes}")));
            }
        }
        ordered
    }

    pub(super) fn lines(self) -> impl Iterator<Item = impl Serialize> {
        self.ordered().into_iter()
    }

    pub(super) fn table(self) -> comfy_table::Table {
        const HEAD: [&str; 6] = ["PROCESS", "FLOWS", "VIOLATIONS", "SENT", "TO", "COMMAND LINE"];
        table::small(&HEAD, self.ordered().iter().map(row))
    }
}

fn row(node: &Node) -> Vec<String> {
    let name = match (&node.script, &node.executable) {
        (Some(script), Some(interpreter)) => table::script(script, interpreter),
        _ => node.name.clone(),
    };
    let made = node.flows + node.attempts;
    let sums = match made {
        0 => ["-", "-", "-", "-"].map(str::to_owned),
        _ => [
            node.flows.to_string(),
            node.violations.to_string(),
            bytes(node.sent_bytes),
            printable(&node.countries.join(" ")).into_owned(),
        ],
    };
    let process = table::process(&name, node.pid, node.executable.is_some());
    let mut cells = vec![format!("{}{process}", node.branch)];
    cells.extend(sums);
    cells.push(node.command_line.as_deref().map(printable).unwrap_or_default().into_owned());
    cells
}

/// It, and its parents from the nearest on.
fn line<'e, 'a>(process: &'e ProcessFields<'a>) -> impl Iterator<Item = &'e ProcessFields<'a>> {
    std::iter::successors(Some(process), |it| it.parent.as_deref())
}

fn key(process: &ProcessFields<'_>) -> Key {
    (process.pid, process.start)
}

fn node(process: &ProcessFields<'_>) -> Node {
    let script = process.executable.as_deref().zip(process.command_line.as_deref());
    let script = script.and_then(|(executable, line)| script_of(executable, line));
    Node {
        pid: process.pid,
        name: process.name.to_string(),
        executable: process.executable.as_deref().map(Into::into),
        command_line: process.command_line.as_deref().map(Into::into),
        script: script.map(Into::into),
        start: process.start,
        parent: process.parent.as_deref().map(key),
        ..Node::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ecs::tests::full_record,
        event::{Ancestor, Record, Sender},
    };

    fn ancestor(pid: u32, name: &str) -> Ancestor {
        let (name, started_at) = (name.into(), None);
        Ancestor { pid, name, executable: None, command_line: None, started_at }
    }

    fn sent_by(pid: u32, parents: &[(u32, &str)]) -> Record {
        let mut record = full_record();
        let Sender::Process { process, .. } = &mut record.sender else { panic!() };
        let process = std::sync::Arc::make_mut(process);
        (process.pid, process.started_at) = (pid, None);
        process.parents = parents.iter().map(|(pid, name)| ancestor(*pid, name)).collect();
        record
    }

    #[test]
    fn each_line_of_a_tree_hangs_on_its_parent_and_goes_on_to_the_next_sister() {
        let mut tree = Tree::of(10);
        let of_update: &[_] = &[(10, "update"), (1, "init")];
        for record in [
            sent_by(12, &[(11, "sh"), (10, "update"), (1, "init")]),
            sent_by(13, of_update),
            sent_by(14, of_update),
        ] {
            assert!(tree.add(&Event::from(&record)));
        }
        let lines: Vec<String> =
            tree.ordered().iter().map(|it| format!("{}{}", it.branch, it.pid)).collect();
        assert_eq!(lines, ["1", "└ 10", "  ├ 11", "  │ └ 12", "  ├ 13", "  └ 14"]);
    }

    #[test]
    fn a_parent_of_whom_it_is_not_known_when_it_began_is_the_one_that_was_seen_to_send() {
        let mut tree = Tree::of(10);
        let mut shell = sent_by(10, &[(1, "init")]);
        let Sender::Process { process, .. } = &mut shell.sender else { panic!() };
        let at = crate::event::Timestamp::from_secs(5);
        std::sync::Arc::make_mut(process).started_at = Some(at);
        for record in [sent_by(12, &[(10, "sh"), (1, "init")]), shell] {
            assert!(tree.add(&Event::from(&record)));
        }
        assert_eq!(shape(tree), [(1, 0, 0), (10, 1, 1), (12, 2, 1)]);
    }

    fn shape(tree: Tree) -> Vec<(u32, usize, u64)> {
        tree.ordered().iter().map(|it| (it.pid, it.depth, it.flows)).collect()
    }

    #[test]
    fn a_tree_has_the_parents_above_and_what_was_started_below() {
        let mut tree = Tree::of(10);
        let init: &[_] = &[(1, "init")];
        for record in [
            sent_by(12, &[(11, "sh"), (10, "update"), (1, "init")]),
            sent_by(10, init),
            sent_by(13, &[(10, "update"), (1, "init")]),
            sent_by(13, &[(10, "update"), (1, "init")]),
        ] {
            assert!(tree.add(&Event::from(&record)));
        }
        assert!(!tree.add(&Event::from(&sent_by(20, init))), "of another");
        assert_eq!(shape(tree), [(1, 0, 0), (10, 1, 1), (11, 2, 0), (12, 3, 1), (13, 2, 2)]);
    }

    #[test]
    fn processes_that_say_they_started_each_other_are_told_without_end() {
        let mut tree = Tree::of(10);
        tree.add(&Event::from(&sent_by(10, &[(10, "me")])));
        assert_eq!(shape(tree), [(10, 0, 1)]);
    }
}
