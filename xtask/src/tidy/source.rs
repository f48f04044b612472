//! Rust text, split into what the compiler sees and what is written in it: code without comments
//! and strings, the strings, and where the unit tests begin. Knows nothing of rules.

/// A string literal and the line (from 1) it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    pub line: usize,
    pub text: String,
}

#[derive(Debug)]
pub struct Source {
    /// Comments and the inside of strings blanked; lines stand where they stood.
    code: String,
    literals: Vec<Literal>,
    /// The line of the unit tests' `mod`; one past the end where there are none.
    tests: usize,
}

impl Source {
    pub fn read(text: &str) -> Source {
        let mut scanner = Scanner { rest: text, code: String::new(), line: 1, literals: vec![] };
        while scanner.step() {}
        let Scanner { code, literals, .. } = scanner;
        let tests = test_module(&code).unwrap_or(code.lines().count() + 1);
        Source { code, literals, tests }
    }

    /// Lines of code with their numbers, tests too.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Lines of code before the unit tests.
    pub fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().take_while(|(number, _)| *number < self.tests)
    }

    /// Names of modules in files of their own that are compiled for tests only.
    pub fn test_files(&self) -> impl Iterator<Item = &str> {
        let lines: Vec<&str> = self.code.lines().collect();
        let only_tests = |index: &usize| *index > 0 && lines[*index - 1] == TEST_ONLY;
        let indices: Vec<usize> = (0..lines.len()).filter(only_tests).collect();
        indices.into_iter().filter_map(move |index| {
            lines[index].trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';')
        })
    }

    /// String literals before the unit tests.
    pub fn product_literals(&self) -> impl Iterator<Item = &Literal> {
        self.literals.iter().filter(|literal| literal.line < self.tests)
    }
}

const TEST_ONLY: &str = "#[cfg(test)]";

/// The line of the attribute of `mod tests { ... }`.
fn test_module(code: &str) -> Option<usize> {
    let mut lines = code.lines().zip(code.lines().skip(1));
    let index = lines.position(|(attribute, module)| {
        attribute == TEST_ONLY && module.starts_with("mod ") && module.ends_with('{')
    });
    index.map(|index| index + 1)
}

/// Whether `line` holds `name` as a word of its own.
pub fn names(line: &str, name: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

struct Scanner<'a> {
    rest: &'a str,
    code: String,
    line: usize,
    literals: Vec<Literal>,
}

impl Scanner<'_> {
    /// Takes one token; false at the end.
    fn step(&mut self) -> bool {
        let rest = self.rest;
        let Some(first) = rest.chars().next() else { return false };
        if rest.starts_with("//") {
            self.blank(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.blank(block_comment(rest));
        } else if let Some(opening) = string_opening(rest) {
            self.string(&opening);
        } else if first == '\'' {
            self.keep(char_literal(rest));
        } else if first.is_alphanumeric() || first == '_' {
            let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            self.keep(word.unwrap_or(rest.len()));
        } else {
            self.keep(first.len_utf8());
        }
        true
    }

    fn keep(&mut self, length: usize) {
        self.take(length, false);
    }

    fn blank(&mut self, length: usize) {
        self.take(length, true);
    }

    fn take(&mut self, length: usize, blank: bool) {
        let (taken, rest) = self.rest.split_at(length);
        for c in taken.chars() {
            self.line += usize::from(c == '\n');
            self.code.push(if blank && c != '\n' { ' ' } else { c });
        }
        self.rest = rest;
    }

    fn string(&mut self, opening: &Opening) {
        let line = self.line;
        self.keep(opening.length);
        let end =
            if opening.raw { self.rest.find(&opening.close) } else { plain_string(self.rest) };
        let end = end.unwrap_or(self.rest.len());
        self.literals.push(Literal { line, text: self.rest[..end].to_owned() });
        self.blank(end);
        self.keep(opening.close.len().min(self.rest.len()));
    }
}

/// How a string literal begins: `"`, `b"`, `c"`, `r"`, `br##"`, and so how it ends.
struct Opening {
    length: usize,
    close: String,
    /// Nothing is escaped in it.
    raw: bool,
}

fn string_opening(rest: &str) -> Option<Opening> {
    let prefix = rest.find(|c: char| !matches!(c, 'b' | 'c' | 'r'))?;
    let raw = rest[..prefix].contains('r');
    let hashes = if raw { rest[prefix..].chars().take_while(|c| *c == '#').count() } else { 0 };
    let known = ["", "b", "c", "r", "br", "cr"].contains(&&rest[..prefix]);
    (known && rest[prefix + hashes..].starts_with('"')).then(|| Opening {
        length: prefix + hashes + 1,
        close: format!("\"{}", "#".repeat(hashes)),
        raw,
    })
}

/// Where the quote that ends a string with escapes stands.
fn plain_string(rest: &str) -> Option<usize> {
    let mut escaped = false;
    rest.char_indices().find_map(|(at, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at)
    })
}

/// Length of a character literal, or of the quote alone where it begins a lifetime.
fn char_literal(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let after = at + c.len_utf8();
            rest[after..].find('\'').map_or(1, |end| after + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// Length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::read(text).code
    }

    fn literals(text: &str) -> Vec<(usize, String)> {
        let source = Source::read(text);
        source.literals.into_iter().map(|literal| (literal.line, literal.text)).collect()
    }

    #[test]
    fn comments_are_blanked_and_lines_stay_where_they_were() {
        assert_eq!(code("a // aya\nb"), "a       \nb");
        assert_eq!(code("a /* x\n /* y */ */ b"), "a     \n            b");
        assert_eq!(code("//! head"), "        ");
    }

    #[test]
    fn strings_are_taken_out_of_the_code_with_their_line() {
        assert_eq!(code("x = \"/proc\" + y"), "x = \"     \" + y");
        assert_eq!(literals("a\n\"/proc\""), [(2, "/proc".to_owned())]);
        assert_eq!(
            literals(r#"("a \" // b", c"d")"#),
            [(1, r#"a \" // b"#.to_owned()), (1, "d".to_owned())]
        );
    }

    #[test]
    fn raw_strings_end_where_they_end() {
        assert_eq!(literals(r##"r#"a "b" c"# + x"##), [(1, r#"a "b" c"#.to_owned())]);
        assert_eq!(literals(r#"(r"a\", "b")"#), [(1, r"a\".to_owned()), (1, "b".to_owned())]);
    }

    #[test]
    fn a_quote_is_a_character_or_a_lifetime() {
        assert_eq!(
            literals("match c { '\"' => 1, '\\'' => 2, _ => f::<'a>(\"x\") }"),
            [(1, "x".to_owned())]
        );
        assert_eq!(literals("fn f<'a>(x: &'a str) -> &'static str { \"y\" }").len(), 1);
    }

    #[test]
    fn unit_tests_are_not_the_product() {
        let source = Source::read("fn a() {}\n\n#[cfg(test)]\nmod tests {\n    \"/proc\"\n}\n");
        assert_eq!(source.product_lines().count(), 2);
        assert_eq!(source.product_literals().count(), 0);
        assert_eq!(source.lines().count(), 6);
    }

    #[test]
    fn a_module_for_tests_in_a_file_of_its_own_ends_nothing() {
        let source = Source::read("#[cfg(test)]\nmod fake;\nmod real;\n\nfn a() {}\n");
        assert_eq!(source.product_lines().count(), 5);
        assert_eq!(source.test_files().collect::<Vec<_>>(), ["fake"]);
    }

    #[test]
    fn a_name_is_a_whole_word() {
        assert!(names("use aya::Ebpf;", "aya"));
        assert!(!names("use aya_log::X;", "aya"));
        assert!(!names("let player = 1;", "aya"));
    }
}
