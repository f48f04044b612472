//! The shape of a source file: a head that says its job, bounded lengths, nothing unfinished.

use super::{Finding, source::Source};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// Functions that may be longer: (file, function, why).
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// What must not be in the tree, split so that this file does not hold it.
const UNFINISHED: [(&str, &str); 4] =
    [("todo", "!("), ("unimplemented", "!("), ("#[ig", "nore"), ("dbg", "!(")];

pub fn check(path: &str, text: &str, source: &Source) -> Vec<Finding> {
    let finding = |line, what: String| Finding { path: path.to_owned(), line, what };
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        findings
            .push(finding(1, "no `//!` head: say the file's job, and what it must not do".into()));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES {
        findings.push(finding(lines, format!("{lines} lines; {FILE_LINES} is the most")));
    }
    for (number, line) in source.lines() {
        for (start, end) in UNFINISHED {
            let word = format!("{start}{end}");
            if line.contains(&word) {
                findings.push(finding(number, format!("`{word}` is not finished work")));
            }
        }
    }
    for function in functions(source) {
        let excepted = LONG_FUNCTIONS.iter().any(|(p, f, _)| *p == path && *f == function.name);
        if function.lines > FUNCTION_LINES && !excepted {
            let Function { name, line, lines } = function;
            let what = format!("fn {name} has {lines} lines; {FUNCTION_LINES} is the most");
            findings.push(finding(line, what));
        }
    }
    findings
}

#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Functions by rustfmt's indentation: from the line with `fn` to the `}` in the same column.
fn functions(source: &Source) -> Vec<Function> {
    let lines: Vec<&str> = source.lines().map(|(_, line)| line).collect();
    let mut functions = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let closes = |line: &&str| line.strip_prefix(indent).is_some_and(|rest| rest == "}");
        // A declaration, or `fn f() {}` on one line, has no brace in its own column.
        let one_line = line.ends_with(['}', ';']);
        let end = if one_line { 0 } else { lines[start..].iter().position(closes).unwrap_or(0) };
        let lines = end + 1;
        functions.push(Function { name: name.to_owned(), line: start + 1, lines });
    }
    functions
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern"];
    let qualified = |word: &str| qualifiers.contains(&word) || word.starts_with('"');
    before.split_whitespace().all(qualified).then_some(())?;
    let end = after.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    (end > 0).then(|| &after[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let source = Source::read(text);
        check("x.rs", text, &source).iter().map(ToString::to_string).collect()
    }

    /// A function of so many lines, from `fn` to its brace.
    fn function(lines: usize) -> String {
        format!("//! Head.\n\npub fn long(\n) {{\n{}}}\n", "    work();\n".repeat(lines - 3))
    }

    #[test]
    fn a_file_without_a_head_is_found() {
        assert!(findings("use std::fmt;\n")[0].contains("head"));
        assert_eq!(findings("//! Says its job.\nuse std::fmt;\n"), [""; 0]);
    }

    #[test]
    fn five_hundred_lines_are_fine_and_one_more_is_not() {
        let lines = |count: usize| format!("//! Head.\n{}", "\n".repeat(count - 1));
        assert_eq!(findings(&lines(500)), [""; 0]);
        assert!(findings(&lines(501))[0].contains("501 lines"));
    }

    #[test]
    fn seventy_lines_of_function_are_fine_and_one_more_is_not() {
        assert_eq!(findings(&function(70)), [""; 0]);
        let found = findings(&function(71));
        assert_eq!(found, ["x.rs:3: fn long has 71 lines; 70 is the most"]);
    }

    #[test]
    fn a_function_ends_at_its_own_column_whatever_is_inside() {
        let text = "impl A {\n    pub(crate) async fn f<T>(x: T)\n    where\n        T: X,\n    {\n        \
                    if x {\n        }\n    }\n}\ntrait B {\n    fn g();\n    fn h() {}\n}\n";
        let found: Vec<(String, usize)> =
            functions(&Source::read(text)).into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(found, [("f".into(), 7), ("g".into(), 1), ("h".into(), 1)]);
    }

    #[test]
    fn a_function_type_is_no_function() {
        assert_eq!(function_name("    each: impl Fn(u8) -> u8,"), None);
        assert_eq!(function_name("    let f: fn (u8);"), None);
        assert_eq!(function_name("unsafe extern \"C\" fn handler(x: i32) {"), Some("handler"));
    }

    #[test]
    fn unfinished_work_is_found_in_code_and_not_in_prose() {
        let word = format!("{}!()", "todo");
        assert_eq!(findings(&format!("//! Head.\nfn a() {{ {word} }}\n")).len(), 1);
        assert_eq!(findings(&format!("//! Head: no {word} here.\n")), [""; 0]);
        let ignored = format!("//! Head.\n#[test]\n#[{}]\nfn a() {{}}\n", "ignore");
        assert_eq!(findings(&ignored).len(), 1);
    }
}
