//! Commands with their answers, as they stand in a page: blocks of `console` in which each line after `$ ` is typed,
//! and what follows is printed. Runs none.

/// What is typed, and what is said to be printed.
pub(crate) struct Typed {
    /// In the page, from 1 on.
    pub(crate) line: usize,
    pub(crate) command: String,
    pub(crate) answer: String,
}

const OPENS: &str = "```console";
const CLOSES: &str = "```";
const PROMPT: &str = "$ ";
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

/// The page with these answers, one for each that is typed.
pub(crate) fn rewritten(page: &str, answers: &[String]) -> String {
    let mut answers = answers.iter();
    let mut is_inside = false;
    let mut new = String::new();
    for line in page.lines() {
        match line {
            OPENS => is_inside = true,
            CLOSES => is_inside = false,
            _ => {}
        }
        let is_typed = is_inside && line.starts_with(PROMPT);
        if !is_inside || line == OPENS || is_typed {
            new.extend([line, "\n"]);
        }
        if is_typed {
            new += answers.next().expect("an answer");
        }
    }
    new
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

/// What stands there and is not printed, and what is printed and does not stand there; `None`: they are alike.
pub(crate) fn difference(stands: &str, printed: &str) -> Option<String> {
    if stands == printed {
        return None;
    }
    let (stands, printed): (Vec<&str>, Vec<&str>) =
        (stands.lines().collect(), printed.lines().collect());
    let begin = stands.iter().zip(&printed).take_while(|(a, b)| a == b).count();
    let rest = stands.len().min(printed.len()) - begin;
    let backwards = stands.iter().rev().zip(printed.iter().rev());
    let end = backwards.take_while(|(a, b)| a == b).count().min(rest);
    let marked = |mark: &str, lines: &[&str]| -> String {
        lines[begin..lines.len() - end].iter().flat_map(|line| [mark, " ", line, "\n"]).collect()
    };
    Some(format!("{}{}", marked("-", &stands), marked("+", &printed)))
}

#[test]
fn a_page_is_read_and_written_again_as_it_is() {
    let page = "# A\n```console\n$ geofenced a \"b c\"\nx\n\ny\n$ geofenced d\n```\nend\n";
    let read = of(page);
    assert_eq!((read[0].line, read[0].answer.as_str()), (3, "x\n\ny\n"));
    assert_eq!(words(&read[0].command), ["geofenced", "a", "b c"]);
    let answers: Vec<String> = read.into_iter().map(|it| it.answer).collect();
    assert_eq!(rewritten(page, &answers), page);
    assert_eq!(difference("a\nb\nc\n", "a\nx\nc\n").as_deref(), Some("- b\n+ x\n"));
    assert_eq!(difference("a\na\n", "a\n").as_deref(), Some("- a\n"));
    assert_eq!(difference("a\n", "a\n"), None);
}
