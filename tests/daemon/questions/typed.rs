//! Commands with their answers, as they stand in a page: blocks of `console` in which each line after `$ ` is typed,
//! and what follows is printed. Runs none.

/// What is typed, and what is said to be printed.
pub(crate) struct Typed {
    /// In the page, from 1 on.
    pub(crate) line: usize,
    pub(crate) command: String,
    pub(crate) answer: String,
}

pub(crate) const OPENS: &str = "```console";
pub(crate) const CLOSES: &str = "```";
pub(crate) const PROMPT: &str = "$ ";
/// Behind a command of which only what it says on standard error is wanted, as a shell has it.
pub(crate) const ONLY_SAID: &str = " 2>&1 >/dev/null";

/// All of a page, in its order.
pub(crate) fn of(page: &str) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    let mut is_inside = false;
    for (at, line) in page.lines().enumerate() {
        match line {
            OPENS => is_inside = true,
            CLOSES => is_inside = false,
            _ if !is_inside => {}
            _ => match (line.strip_prefix(PROMPT), all.last_mut()) {
                (Some(command), _) => {
                    let (line, command) = (at + 1, command.to_owned());
                    all.push(Typed { line, command, answer: String::new() });
                }
                (None, Some(last)) => last.answer.extend([line, "\n"]),
                (None, None) => panic!("line {}: nothing was typed", at + 1),
            },
        }
    }
    all
}

/// The words of a line, as a shell has them that knows quotes and nothing else.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in line.chars() {
        match (letter, quote) {
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, Some(open)) if letter == open => quote = None,
            (' ', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    assert!(quote.is_none(), "a quote is open: {line}");
    words.extend(word);
    words
}
