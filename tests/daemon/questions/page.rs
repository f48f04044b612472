//! A page of commands with other answers, and where two answers differ. Runs none.

use super::typed::{CLOSES, OPENS, PROMPT, of, words};

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
