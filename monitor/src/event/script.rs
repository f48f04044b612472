//! What an interpreter runs, told from the file that the kernel executed and the arguments that came with it. The
//! arguments are the process's word, so what is told here is a claim; it judges nothing.

/// Interpreters by the name of their file, without a version: `python3.11` is `python`.
const INTERPRETERS: [&str; 17] = [
    "python", "pypy", "perl", "ruby", "node", "nodejs", "deno", "bun", "php", "lua", "luajit",
    "Rscript", "sh", "bash", "dash", "zsh", "java",
];
/// Options that have a value of their own behind them, by interpreter.
const VALUED: [(&str, &[&str]); 8] = [
    ("python", &["-W", "-X", "--check-hash-based-pycs"]),
    ("pypy", &["-W", "-X"]),
    ("perl", &["-I"]),
    ("ruby", &["-I", "-r", "-C"]),
    ("node", &["-r", "--require", "--import", "--loader"]),
    ("nodejs", &["-r", "--require", "--import", "--loader"]),
    ("bash", &["-o", "-O", "--rcfile", "--init-file"]),
    ("java", &["-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-opens"]),
];
/// What follows these is text to run, and no file, by interpreter; of all others `-e`.
const TEXT: [(&str, &str); 8] = [
    ("python", "-c"),
    ("pypy", "-c"),
    ("sh", "-c"),
    ("bash", "-c"),
    ("dash", "-c"),
    ("zsh", "-c"),
    ("php", "-r"),
    ("java", "--source"),
];
/// What follows these is what is run: a module, an archive.
const NAMED: [&str; 2] = ["-m", "-jar"];

/// The script of a command line whose arguments are joined by spaces: a path as it was passed, or the name of a
/// module. `None`: no interpreter, or it runs no file.
pub fn of<'a>(executable: &str, command_line: &'a str) -> Option<&'a str> {
    let file = executable.rsplit('/').next()?;
    let family = file.trim_end_matches(|it: char| it.is_ascii_digit() || it == '.' || it == '-');
    INTERPRETERS.contains(&family).then_some(())?;
    let valued = VALUED.iter().find(|it| it.0 == family).map_or(&[][..], |it| it.1);
    let text = TEXT.iter().find(|it| it.0 == family).map_or("-e", |it| it.1);
    let mut arguments = command_line.split(' ').filter(|it| !it.is_empty()).skip(1);
    while let Some(argument) = arguments.next() {
        if NAMED.contains(&argument) || argument == "--" {
            return arguments.next();
        } else if argument == text {
            return None;
        } else if valued.contains(&argument) {
            arguments.next();
        } else if !argument.starts_with('-') || argument == "-" {
            return (argument != "-").then_some(argument);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn the_script_is_what_an_interpreter_was_given_to_run() {
        for (executable, line, script) in [
            (
                "/usr/bin/python3.11",
                "/usr/bin/python3 /opt/live-video --fast",
                Some("/opt/live-video"),
            ),
            ("/usr/bin/python3.11", "python3 -u -W ignore beacon.py 5", Some("beacon.py")),
            ("/usr/bin/python3.11", "python3 -m http.server 80", Some("http.server")),
            ("/usr/bin/python3.11", "python3 -c import os /opt/x.py", None),
            ("/usr/bin/python3.11", "python3 -", None),
            ("/usr/bin/python3.11", "python3", None),
            ("/usr/bin/dash", "/bin/sh -e /etc/init.d/sync start", Some("/etc/init.d/sync")),
            ("/usr/bin/dash", "sh -c id /etc/passwd", None),
            ("/usr/bin/perl", "perl -w -e print 1", None),
            ("/usr/bin/bash", "bash --norc -o pipefail up.sh", Some("up.sh")),
            ("/usr/bin/bash", "bash -- -odd.sh", Some("-odd.sh")),
            ("/usr/lib/jvm/17/bin/java", "java -cp /a:/b -jar relay.jar", Some("relay.jar")),
            ("/usr/bin/node", "node --inspect --require x app.js", Some("app.js")),
            ("/usr/bin/curl", "curl python3 x.py", None),
            ("/opt/pythonic", "pythonic x.py", None),
            ("", "", None),
        ] {
            assert_eq!(of(executable, line), script, "{line}");
        }
    }
}
