//! Who started whom: the programs that send, below those that started them, with what they send. Draws text.

use std::collections::BTreeMap;

use super::line::Line;
use crate::table::{bytes, printable};

pub(super) const HEAD: &str =
    "          RATE        SENT  PROGRAM, BELOW WHO STARTED IT, AND WHERE TO";
/// Destinations of a program that are told one by one.
const DESTINATIONS: usize = 8;

#[derive(Debug, Default)]
struct Node<'a> {
    rate: u64,
    sent: u64,
    violations: u64,
    children: BTreeMap<&'a str, Node<'a>>,
    flows: Vec<&'a Line>,
}

impl<'a> Node<'a> {
    fn add(&mut self, path: &'a [String], line: &'a Line) {
        self.rate = self.rate.saturating_add(line.rate);
        self.sent = self.sent.saturating_add(line.sent);
        self.violations += line.violations;
        match path.split_first() {
            Some((first, rest)) => self.children.entry(first).or_default().add(rest, line),
            None => self.flows.push(line),
        }
    }

    fn tell(&self, depth: usize, out: &mut Vec<String>) {
        for line in self.flows.iter().take(DESTINATIONS) {
            let text = format!("{}  {}  {}", line.destination, line.country, line.reason);
            out.push(row(line.rate, line.sent, line.violations, depth, &format!("> {text}")));
        }
        if self.flows.len() > DESTINATIONS {
            let more = self.flows.len() - DESTINATIONS;
            let indent = "  ".repeat(depth);
            out.push(format!("{:>14}  {:>10}  {indent}> {more} more", "", ""));
        }
        for (name, node) in &self.children {
            out.push(row(node.rate, node.sent, node.violations, depth, name));
            node.tell(depth + 1, out);
        }
    }
}

fn row(rate: u64, sent: u64, violations: u64, depth: usize, text: &str) -> String {
    let rate = if rate == 0 { "-".to_owned() } else { format!("{}/s", bytes(rate)) };
    let mark = if violations > 0 { '!' } else { ' ' };
    let indent = "  ".repeat(depth);
    format!("{mark}{rate:>13}  {:>10}  {indent}{}", bytes(sent), printable(text))
}

/// The lines in their order below their programs; what has no process stands by itself.
pub(super) fn tree(lines: &[&Line]) -> Vec<String> {
    let mut root = Node::default();
    for line in lines {
        if line.ancestors.is_empty() {
            root.add(std::slice::from_ref(&line.program), line);
        } else {
            root.add(&line.ancestors, line);
        }
    }
    let mut out = Vec::new();
    root.tell(0, &mut out);
    out
}
