//! What a guest said, section by section (the form: tests/vm/init). Knows nothing of its meaning.

use serde_json::Value;

#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) lines: Vec<String>,
    pub(super) stderr: Vec<String>,
    /// `None`: the section was cut off.
    pub(super) status: Option<i32>,
}

impl Section {
    pub(super) fn json(&self) -> impl Iterator<Item = Value> {
        self.lines.iter().filter_map(|line| serde_json::from_str(line).ok())
    }

    /// Why it can't be relied on, if so.
    pub(super) fn problem(&self) -> Option<String> {
        match self.status {
            Some(0) => None,
            Some(status) => Some(format!("exit code {status}: {}", self.stderr.join(" "))),
            None => Some("cut off".to_owned()),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Transcript {
    pub(super) sections: Vec<Section>,
}

impl Transcript {
    pub(super) fn parse(text: &str) -> Self {
        let mut sections = Vec::new();
        let mut open: Option<Section> = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("begin ") {
                sections.extend(open.take());
                open = Some(Section { name: name.to_owned(), ..Section::default() });
            } else if let Some(mut section) = open.take() {
                match line.strip_prefix("end ").and_then(|rest| rest.rsplit_once(' ')) {
                    Some((name, status)) if name == section.name => {
                        section.status = status.parse().ok();
                        sections.push(section);
                        continue;
                    }
                    _ => {}
                }
                match line.strip_prefix("stderr: ") {
                    Some(line) => section.stderr.push(line.to_owned()),
                    None => section.lines.push(line.to_owned()),
                }
                open = Some(section);
            }
        }
        sections.extend(open);
        Self { sections }
    }

    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    pub(super) fn first_line(&self, name: &str) -> Option<&str> {
        self.section(name)?.lines.first().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_have_lines_messages_and_an_exit_code() {
        let text = "noise\nbegin egress tcp\n{\"pid\":7}\nstderr: hm\nend egress tcp 0\nnoise\n\
                    begin events\nend of line\nend events 1\nbegin log\nlast";
        let said = Transcript::parse(text);
        let tcp = said.section("egress tcp").unwrap();
        assert_eq!(tcp.json().next().unwrap()["pid"], 7);
        assert_eq!(tcp.stderr, ["hm"]);
        assert_eq!(tcp.problem(), None);
        let events = said.section("events").unwrap();
        assert_eq!(events.lines, ["end of line"]);
        assert!(events.problem().unwrap().contains("exit code 1"));
        assert_eq!(said.section("log").unwrap().problem().unwrap(), "cut off");
        assert_eq!(said.first_line("log"), Some("last"));
    }
}
