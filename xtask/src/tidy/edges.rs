//! Who may use what: the edges between the modules of `monitor`, as a table.
//!
//! ARCHITECTURE.md says the same in prose.

use super::{
    Finding,
    imports::Imports,
    source::{Source, names},
};

/// Something that only some modules may touch.
struct Edge {
    /// Words of the code.
    words: &'static [&'static str],
    /// Beginnings of string literals.
    literals: &'static [&'static str],
    scope: Scope,
    /// What it means to break it.
    why: &'static str,
}

enum Scope {
    /// Allowed in these modules of `monitor/src` and nowhere else in it.
    Only(&'static [&'static str]),
    /// Forbidden in these, allowed elsewhere.
    Never(&'static [&'static str]),
}

/// What samples pass through. Each has its own queue or none; none asks the network.
const PIPELINE: &[&str] = &["probe", "decode", "attribute", "locate", "names", "judge", "pipeline"];

const EDGES: &[Edge] = &[
    Edge {
        words: &["aya", "aya_log"],
        literals: &[],
        scope: Scope::Only(&["probe"]),
        why: "only `probe` knows aya",
    },
    Edge {
        words: &["sled"],
        literals: &[],
        scope: Scope::Only(&["store"]),
        why: "only `store` knows the database",
    },
    Edge {
        words: &["parquet"],
        literals: &[],
        scope: Scope::Only(&["export"]),
        why: "only `export` knows the format of tables",
    },
    Edge {
        words: &["procfs"],
        literals: &["/proc"],
        scope: Scope::Only(&["attribute"]),
        why: "only `attribute` reads /proc",
    },
    Edge {
        words: &["fs", "File", "OpenOptions", "TcpStream", "UdpSocket", "SystemTime", "Instant"],
        literals: &[],
        scope: Scope::Never(&["judge"]),
        why: "`judge` is pure: no I/O, no clock",
    },
    Edge {
        words: &["fs", "File", "OpenOptions", "SystemTime", "Instant"],
        literals: &[],
        scope: Scope::Never(&["evidence"]),
        why: "`evidence` is pure: bytes in, types out",
    },
    Edge {
        words: &["ed25519_dalek"],
        literals: &[],
        scope: Scope::Only(&["evidence"]),
        why: "only `evidence` knows the arithmetic of signatures",
    },
    Edge {
        words: &[
            "fs",
            "File",
            "OpenOptions",
            "Client",
            "Reader",
            "SystemTime",
            "Instant",
            "rustix",
        ],
        literals: &[],
        scope: Scope::Never(&["report"]),
        why: "`report` is given facts: it reads nothing and asks nobody",
    },
    Edge {
        words: &["SystemTime", "UNIX_EPOCH", "ClockId", "clock_gettime", "adjtimex"],
        literals: &[],
        scope: Scope::Only(&["clock"]),
        why: "only `clock` reads clocks",
    },
    Edge {
        words: &["TcpStream", "UdpSocket", "ToSocketAddrs", "to_socket_addrs", "getaddrinfo"],
        literals: &[],
        scope: Scope::Never(PIPELINE),
        why: "nothing in the pipeline asks the network",
    },
    Edge {
        words: &["tokio", "hyper", "axum"],
        literals: &[],
        scope: Scope::Never(&["decode", "attribute", "locate", "names", "judge", "store"]),
        why: "the pipeline is synchronous and asks no network",
    },
    Edge {
        words: &["serde", "Serialize", "Deserialize"],
        literals: &[],
        scope: Scope::Never(&["event", "select", "judge"]),
        why: "domain types are not serializable: each border converts",
    },
    Edge {
        words: &["anyhow"],
        literals: &[],
        scope: Scope::Only(&["commands", "main"]),
        why: "`anyhow` is for `commands` and `main`; a stage has an enum of its errors",
    },
];

/// A module of ours from which only some may take.
struct Way {
    /// The modules taken from; empty stands for all.
    from: &'static [&'static str],
    scope: Scope,
    why: &'static str,
}

const WAYS: &[Way] = &[
    Way {
        from: &[],
        scope: Scope::Never(&["metrics", "printable", "evidence"]),
        why: "`metrics`, `printable` and `evidence` are leaves: they take from no module of ours",
    },
    Way { from: &["commands"], scope: Scope::Only(&["lib"]), why: "nothing takes from `commands`" },
    Way {
        from: &["pipeline"],
        scope: Scope::Only(&["commands"]),
        why: "no stage takes from `pipeline`",
    },
    Way {
        from: &["cli"],
        scope: Scope::Only(&["commands"]),
        why: "only `commands` knows what was typed",
    },
    Way {
        from: &["outputs", "api"],
        scope: Scope::Never(PIPELINE_BEFORE_OUTPUTS),
        why: "data never flows back: no stage takes from what comes after it",
    },
];

/// The stages that come before the outputs.
const PIPELINE_BEFORE_OUTPUTS: &[&str] =
    &["probe", "decode", "attribute", "locate", "names", "judge", "event", "select", "store"];

/// Where the exceptions stand.
const HERE: &str = "xtask/src/tidy/edges.rs";

/// A place where an edge may be crossed, and why.
struct Exception {
    path: &'static str,
    word: &'static str,
    /// There is no exception without one.
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        path: "monitor/src/clock.rs",
        word: "/proc",
        reason: "the number of this boot; of no process",
    },
    Exception {
        path: "monitor/src/netns.rs",
        word: "/proc",
        reason: "the namespace of a thread of its own; of no other process",
    },
    Exception {
        path: "monitor/src/commands/demo/world.rs",
        word: "/proc",
        reason: "a setting of an interface that it made; of no process",
    },
    Exception {
        path: "monitor/src/logging.rs",
        word: "SystemTime",
        reason: "what tracing-subscriber calls its own stamp of a line; it decides nothing",
    },
    Exception {
        path: "monitor/src/attribute/users.rs",
        word: "SystemTime",
        reason: "when a file was changed; compared with itself alone",
    },
    Exception {
        path: "monitor/src/probe/cgroup.rs",
        word: "/proc",
        reason: "the mount table says where the cgroup2 hierarchy is; of no process",
    },
    Exception {
        path: "monitor/src/metrics/serve.rs",
        word: "connections",
        reason: "the endpoint takes connections as the API does; nothing that others hold is in it",
    },
];

const MONITOR: &str = "monitor/src/";

/// The library half of `monitor-ebpf` is what both sides promise each other.
const CONTRACT: [&str; 5] = ["lib", "sample", "names", "settings", "loss"];

/// What the modules of `monitor` take from each other.
pub fn check_ways(imports: &Imports) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, taken) in &imports.taken {
        let Some(own) = path.strip_prefix(MONITOR).map(module) else { continue };
        for (other, names) in taken {
            let Some(from) = other.strip_prefix(MONITOR).map(module) else { continue };
            let crossed = WAYS.iter().filter(|way| {
                let concerns = way.from.is_empty() || way.from.contains(&from);
                from != own && concerns && forbids(&way.scope, own)
            });
            findings.extend(crossed.filter_map(|way| {
                let is_excepted =
                    EXCEPTIONS.iter().any(|e| path.starts_with(e.path) && e.word == from);
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let what = format!("{}, and here is `{from}`: {}", way.why, names.join(", "));
                (!is_excepted).then(|| Finding { path: path.clone(), line: 1, what })
            }));
        }
    }
    findings
}

pub fn check(path: &str, source: &Source) -> Vec<Finding> {
    if let Some(inner) = path.strip_prefix(MONITOR) {
        return EDGES
            .iter()
            .filter(|edge| forbids(&edge.scope, module(inner)))
            .flat_map(|edge| crossings(path, source, edge))
            .collect();
    }
    let contract = path.strip_prefix("monitor-ebpf/src/").map(module);
    if contract.is_some_and(|module| CONTRACT.contains(&module)) {
        return contract_findings(path, source);
    }
    vec![]
}

fn forbids(scope: &Scope, module: &str) -> bool {
    match scope {
        Scope::Only(allowed) => !allowed.contains(&module),
        Scope::Never(forbidden) => forbidden.contains(&module),
    }
}

/// Exceptions that nothing needs any more. `sources`: of the whole tree, this file among them.
pub fn check_exceptions(sources: &[(&str, &str, Source)]) -> Vec<Finding> {
    if sources.iter().all(|(path, ..)| *path != HERE) {
        return vec![];
    }
    let is_needed = |exception: &&Exception| {
        sources.iter().filter(|(path, ..)| path.starts_with(exception.path)).any(|(.., source)| {
            source.product_lines().any(|(_, line)| names(line, exception.word))
                || source.product_literals().any(|it| begins(&it.text, exception.word))
        })
    };
    let finding = |Exception { path, word, reason }: &Exception| Finding {
        path: (*path).to_owned(),
        line: 1,
        what: format!(
            "nothing here takes `{word}` any more, and there is an exception for it: {reason}"
        ),
    };
    EXCEPTIONS.iter().filter(|it| !is_needed(it)).map(finding).collect()
}

fn crossings(path: &str, source: &Source, edge: &Edge) -> Vec<Finding> {
    let finding = |line, word: &str| {
        let excepted = EXCEPTIONS.iter().any(|e| path.starts_with(e.path) && e.word == word);
        (!excepted).then(|| Finding {
            path: path.to_owned(),
            line,
            what: format!("{}, and here is `{word}`", edge.why),
        })
    };
    let words = source.product_lines().flat_map(|(number, line)| {
        edge.words.iter().filter(move |word| names(line, word)).map(move |word| (number, *word))
    });
    let literals = source.product_literals().flat_map(|literal| {
        let begins = edge.literals.iter().filter(|start| begins(&literal.text, start));
        begins.map(|start| (literal.line, *start))
    });
    words.chain(literals).filter_map(|(line, word)| finding(line, word)).collect()
}

/// `/proc` begins `/proc` and `/proc/self`, not `/process`.
fn begins(text: &str, start: &str) -> bool {
    text.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn contract_findings(path: &str, source: &Source) -> Vec<Finding> {
    let forbidden = ["std", "alloc", "aya_ebpf", "aya_log_ebpf"];
    source
        .product_lines()
        .flat_map(|(number, line)| {
            forbidden.iter().filter(move |word| names(line, word)).map(move |word| Finding {
                path: path.to_owned(),
                line: number,
                what: format!("the contract with the kernel is `core` alone, and here is `{word}`"),
            })
        })
        .collect()
}

/// The module of `src` that a file belongs to: `probe` of `probe/ring.rs`, `event` of `event.rs`.
fn module(inner: &str) -> &str {
    let first = inner.split('/').next().unwrap_or(inner);
    first.strip_suffix(".rs").unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(path, &Source::read(text)).into_iter().map(|finding| finding.what).collect()
    }

    fn is_crossing(path: &str, text: &str, why: &str) {
        let findings = findings(path, text);
        assert!(findings.iter().any(|what| what.contains(why)), "{path}: {text}: {findings:?}");
    }

    fn is_fine(path: &str, text: &str) {
        assert_eq!(findings(path, text), [""; 0], "{path}: {text}");
    }

    #[test]
    fn an_exception_that_nothing_needs_any_more_is_found_with_its_reason() {
        let tree = |clock: &str| {
            let others = EXCEPTIONS.iter().filter(|it| it.path != "monitor/src/clock.rs");
            let others = others.map(|it| (it.path, format!("read({0:?}); {0}::take()", it.word)));
            let all: Vec<(&str, String)> = others
                .chain([("monitor/src/clock.rs", clock.to_owned()), (HERE, String::new())])
                .collect();
            let sources: Vec<_> =
                all.iter().map(|(path, text)| (*path, text.as_str(), Source::read(text))).collect();
            check_exceptions(&sources)
        };
        assert_eq!(tree("read(\"/proc/sys/kernel/random/boot_id\")"), []);
        let found = tree("read(\"/sys\")");
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("the number of this boot"), "{found:?}");
    }

    #[test]
    fn only_probe_names_aya_and_only_store_names_the_database() {
        is_crossing("monitor/src/pipeline.rs", "use aya::Ebpf;", "only `probe`");
        is_crossing("monitor/src/commands/run.rs", "aya_log::init()", "only `probe`");
        is_fine("monitor/src/probe/ring.rs", "use aya::maps::RingBuf;");
        is_crossing("monitor/src/outputs/store.rs", "sled::open(path)", "only `store`");
        is_fine("monitor/src/store/index/mod.rs", "use sled::Db;");
    }

    #[test]
    fn only_attribute_reads_proc_whether_by_crate_or_by_path() {
        is_crossing("monitor/src/locate/mod.rs", "read(\"/proc/self/stat\")", "only `attribute`");
        is_crossing("monitor/src/judge/mod.rs", "procfs::process::all()", "only `attribute`");
        is_fine("monitor/src/attribute/procfs.rs", "read(\"/proc/self/stat\")");
        is_fine("monitor/src/locate/mod.rs", "\"/process\"");
    }

    #[test]
    fn judge_knows_no_clock_and_no_file() {
        for text in ["use std::fs;", "Instant::now()", "SystemTime::now()", "File::open(path)"] {
            is_crossing("monitor/src/judge/rules.rs", text, "`judge` is pure");
        }
        is_fine("monitor/src/judge/rules.rs", "use std::net::IpAddr;");
    }

    #[test]
    fn a_report_is_given_facts_and_reads_none() {
        for text in ["use std::fs;", "Client::new(socket)", "use crate::store::Reader;"] {
            is_crossing("monitor/src/report/claim.rs", text, "`report` is given facts");
        }
        is_fine("monitor/src/report/html/mod.rs", "include_str!(\"style.css\")");
    }

    #[test]
    fn only_clock_reads_clocks_and_anybody_measures_spans() {
        is_crossing("monitor/src/store/mod.rs", "SystemTime::now()", "only `clock`");
        is_crossing(
            "monitor/src/probe/kernel.rs",
            "clock_gettime(ClockId::Boottime)",
            "only `clock`",
        );
        is_fine("monitor/src/clock.rs", "clock_gettime(ClockId::Realtime)");
        is_fine("monitor/src/outputs/store.rs", "Instant::now()");
    }

    #[test]
    fn nothing_in_the_pipeline_asks_the_network() {
        is_crossing("monitor/src/locate/names.rs", "UdpSocket::bind(x)", "asks the network");
        is_crossing("monitor/src/decode.rs", "use tokio::net;", "synchronous");
        is_fine("monitor/src/api/mod.rs", "use tokio::net::UnixListener;");
    }

    fn ways(path: &str, text: &str) -> Vec<String> {
        let others = [
            ("monitor/src/event.rs", ""),
            ("monitor/src/cli.rs", ""),
            ("monitor/src/commands/mod.rs", ""),
            ("monitor/src/pipeline/mod.rs", ""),
            ("monitor/src/outputs/mod.rs", ""),
            ("monitor/src/connections/mod.rs", ""),
        ];
        let files = others.into_iter().filter(|(other, _)| *other != path).chain([(path, text)]);
        let imports = Imports::read(MONITOR, files, &[]);
        check_ways(&imports).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn no_way_leads_back_however_it_is_written() {
        for (path, text, why) in [
            ("monitor/src/metrics/mod.rs", "use crate::event::Verdict;", "leaves"),
            ("monitor/src/cli.rs", "use crate::{commands::{RunArgs, DoctorArgs}};", "`commands`"),
            ("monitor/src/api/mod.rs", "fn f() { crate::commands::run() }", "`commands`"),
            ("monitor/src/judge/mod.rs", "use crate::{event::Flow, pipeline};", "`pipeline`"),
            ("monitor/src/store/mod.rs", "use crate::outputs::Outputs;", "never flows back"),
            ("monitor/src/outputs/mod.rs", "use crate::cli::Global;", "what was typed"),
        ] {
            let found = ways(path, text);
            assert!(found.iter().any(|what| what.contains(why)), "{path}: {text}: {found:?}");
        }
    }

    #[test]
    fn commands_stand_above_all_and_an_exception_is_of_one_file() {
        let text = "use crate::{cli::Global, pipeline::Pipeline, outputs::Outputs};";
        assert_eq!(ways("monitor/src/commands/run.rs", text), [""; 0]);
        assert_eq!(ways("monitor/src/lib.rs", "mod commands; pub use commands::main;"), [""; 0]);
        let text = "use crate::connections::Bounds;";
        assert_eq!(ways("monitor/src/metrics/serve.rs", text), [""; 0]);
        assert_eq!(ways("monitor/src/metrics/mod.rs", text).len(), 1);
    }

    #[test]
    fn domain_types_are_not_serializable_and_stages_do_not_use_anyhow() {
        is_crossing("monitor/src/event.rs", "#[derive(Serialize)]", "not serializable");
        is_fine("monitor/src/ecs.rs", "#[derive(Serialize)]");
        is_crossing("monitor/src/store/mod.rs", "anyhow::Result<()>", "`anyhow`");
        is_fine("monitor/src/main.rs", "fn main() -> anyhow::Result<()> {}");
    }

    #[test]
    fn the_contract_with_the_kernel_is_core_alone() {
        is_crossing("monitor-ebpf/src/sample.rs", "use std::mem;", "`core` alone");
        is_crossing("monitor-ebpf/src/names.rs", "use aya_ebpf::maps;", "`core` alone");
        is_fine("monitor-ebpf/src/programs/maps.rs", "use aya_ebpf::maps;");
    }

    #[test]
    fn an_exception_holds_for_its_word_in_its_file_alone() {
        is_fine("monitor/src/probe/cgroup.rs", "open(\"/proc/self/mountinfo\")");
        is_crossing("monitor/src/probe/cgroup.rs", "procfs::mounts()", "only `attribute`");
        is_crossing("monitor/src/probe/ring.rs", "open(\"/proc/self/mountinfo\")", "only");
    }

    #[test]
    fn comments_and_unit_tests_may_name_anything() {
        is_fine("monitor/src/judge/mod.rs", "// unlike sled, std::fs and /proc\n");
        is_fine("monitor/src/judge/mod.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n");
    }
}
