//! Whole files: what is accepted, what is refused and with which words, and the shipped default.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::locate::codes;

const SHIPPED: &str = include_str!("../../../deploy/config.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    parse_all(&[text])
}

/// The first is `0.toml`, and so on.
fn parse_all(texts: &[&str]) -> Result<Config, ConfigError> {
    let mut sources = Sources::default();
    for (index, text) in texts.iter().enumerate() {
        sources.push(Path::new(&format!("{index}.toml")), (*text).to_owned());
    }
    Config::of(&sources)
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(parse("").unwrap(), Config::builtin());
}

#[test]
fn the_shipped_file_says_every_default() {
    assert_eq!(parse(SHIPPED).unwrap(), Config::builtin());
    let mut sources = Sources::default();
    sources.push(Path::new("config.toml"), SHIPPED.to_owned());
    let raw = format!("{:?}", sources.parse().unwrap());
    assert!(!raw.contains("None"), "a key has no default in deploy/config.toml: {raw}");
}

#[test]
fn the_reference_names_every_key() {
    let reference = include_str!("../../../docs/configuration.md");
    let keys = SHIPPED.lines().filter_map(|line| line.trim_start_matches("# ").split_once(" = "));
    let plain = |key: &str| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let keys: Vec<&str> = keys.map(|(key, _)| key).filter(|key| plain(key)).collect();
    assert!(keys.len() > 20, "{keys:?}");
    for key in keys {
        assert!(reference.contains(&format!("`{key}`")), "docs/configuration.md lacks {key}");
    }
}

#[test]
fn the_shipped_examples_are_valid() {
    let is_example = |line: &&str| {
        let code = line.trim_start_matches("# ");
        code.starts_with("[[")
            || code
                .split_once(" = ")
                .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    let examples: Vec<&str> = SHIPPED
        .lines()
        .filter(|line| line.starts_with("# "))
        .filter(is_example)
        .map(|line| line.trim_start_matches("# "))
        .collect();
    let examples =
        examples.join("\n").replacen("approved_countries", "[policy]\napproved_countries", 1);
    let config = parse(&examples).unwrap();
    assert_eq!(config.policy.approved_countries.len(), 2);
    assert_eq!(config.policy.rules[0].port, Some(123));
    assert_eq!(config.geo.overrides[0].asn, Some(64500));
    assert_eq!(config.geo.operators[0].is_anycast, Some(false));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_key() {
    let message = refused("[policy]\nbasis = \"either\"\naproved_countries = []\n");
    assert_eq!(
        message,
        "0.toml:3: unknown key `policy.aproved_countries`; did you mean `approved_countries`?"
    );
    assert!(refused("[polcy]\n").contains("unknown key `polcy`; did you mean `policy`?"));
    let rule = refused("[[policy.rule]]\nname = \"a\"\nallow = true\nprot = 53\n");
    assert!(rule.starts_with("0.toml:4: unknown key `policy.rule.prot`"), "{rule}");
    let far = refused("[api]\nzzz = 1\n");
    assert_eq!(far, "0.toml:2: unknown key `api.zzz`; known here: socket");
}

#[test]
fn as_many_units_and_operators_have_a_series_as_is_said_and_none_by_default() {
    assert_eq!(parse("").unwrap().metrics.top, 0);
    assert_eq!(parse("[metrics]\ntop = 10").unwrap().metrics.top, 10);
    let far = "0.toml:2: metrics.top: 101 is not within 0 and 100";
    assert_eq!(refused("[metrics]\ntop = 101"), far);
}

#[test]
fn a_size_that_is_neither_a_number_nor_automatic_is_refused() {
    for (text, expected) in [
        ("[capture]\nmax_flows = \"10\"", "0.toml:2: capture.max_flows: \"10\" is not \"auto\""),
        ("[capture]\nmax_flows = []", "0.toml:2: capture.max_flows: write \"auto\", or a number"),
        ("[capture]\nring_buffer = \"big\"", "0.toml:2: capture.ring_buffer:"),
    ] {
        assert!(refused(text).starts_with(expected), "{}", refused(text));
    }
}

#[test]
fn retention_waits_for_who_ships_where_that_is_said_and_for_nobody_else() {
    let shipping = |text: &str| parse(text).unwrap().store.shipping;
    assert_eq!(shipping("[store]\nshipper = \"/x\""), None);
    let waits = shipping("[store]\nkeep_unshipped = \"1GiB\"").unwrap();
    assert_eq!(
        (waits.keep_bytes, waits.told.as_path()),
        (1 << 30, "/var/lib/geofenced-fleet".as_ref())
    );
    for (text, expected) in [
        ("[store]\nkeep_unshipped = \"1KiB\"", "0.toml:2: store.keep_unshipped:"),
        ("[store]\nkeep_unshipped = \"1GiB\"\nshipper = \"x\"", "0.toml:3: store.shipper:"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn each_wrong_value_is_one_line_with_its_key_and_place() {
    let cases = [
        (
            "[policy]\napproved_countries = [\"US\",\n\"USA\"]",
            "0.toml:3: policy.approved_countries: country \"USA\" is not a two-letter code; did you mean \"US\"?",
        ),
        (
            "[policy]\nbasis = \"locaton\"",
            "0.toml:2: policy.basis: \"locaton\" is none of \"either\"",
        ),
        (
            "[policy]\nlocal_networks = [\"10.0.0.0/40\"]",
            "0.toml:2: policy.local_networks: \"10.0.0.0/40\" is no network",
        ),
        (
            "[policy]\nbasis = 3",
            "0.toml:2: policy.basis: invalid type: integer `3`, expected a string",
        ),
        ("[[policy.rule]]\nname = \"a\"", "0.toml:1: `policy.rule` needs the key `allow`"),
        ("[[policy.rule]]\nname = \"a b\"\nallow = true", "0.toml:2: policy.rule.name:"),
        (
            "[[policy.rule]]\nname = \"a\"\nallow = true\nport = 70000",
            "0.toml:4: policy.rule.port: 70000 is not within 1 and 65535",
        ),
        (
            "[[policy.rule]]\nname = \"a\"\nallow = true\ntransport = \"tpc\"",
            "0.toml:4: policy.rule.transport:",
        ),
        (
            "[[policy.rule]]\nname = \"a\"\nallow = true\ncountry = []",
            "0.toml:2: policy.rule.country: an empty list",
        ),
        (
            "[[policy.rule]]\nname = \"a\"\nallow = true\ndestination = \"1.2.3\"",
            "0.toml:4: policy.rule.destination:",
        ),
        (
            "[geo]\ndatabase = \"/no/such.mmdb\"",
            "0.toml:2: geo.database: \"/no/such.mmdb\" does not exist",
        ),
        ("[geo]\noperator_database = \"/\"", "0.toml:2: geo.operator_database: \"/\" is a folder"),
        ("[[geo.override]]\nnetwork = \"203.0.113.0/24\"", "0.toml:2: geo.override: says nothing"),
        ("[[geo.override]]\nnetwork = \"203.0.113.0/24\"\nasn = 0", "0.toml:3: geo.override.asn:"),
        (
            "[capture]\ninterfaces = \"eth0\"",
            "0.toml:2: capture.interfaces: \"eth0\" is not \"auto\"; write a list",
        ),
        ("[capture]\ninterfaces = 3", "0.toml:2: capture.interfaces: write \"auto\", or a list"),
        ("[capture]\ninterfaces = [\"a/b\"]", "0.toml:2: capture.interfaces:"),
        ("[capture]\nring_buffer = \"3MiB\"", "0.toml:2: capture.ring_buffer:"),
        ("[capture]\nmax_flows = 10", "0.toml:2: capture.max_flows:"),
        ("[store]\npath = \"data\"", "0.toml:2: store.path: \"data\" is no absolute path"),
        ("[store]\nretention = \"30\"", "0.toml:2: store.retention:"),
        ("[store]\nmax_size = \"1KiB\"", "0.toml:2: store.max_size:"),
        ("[metrics]\nlisten = \"localhost\"", "0.toml:2: metrics.listen:"),
        ("[api]\nsocket = \"sock\"", "0.toml:2: api.socket:"),
        ("[host]\nname = \"uav 7\"", "0.toml:2: host.name:"),
        ("[host]\nname = \"a+b\"", "0.toml:2: host.name:"),
        ("[host]\nname = \"a\\u202eb\"", "0.toml:2: host.name:"),
        ("[host]\nnam = \"x\"", "0.toml:2: unknown key `host.nam`; did you mean `name`?"),
        ("[policy\n", "0.toml:1: "),
        ("[policy]\n\nbasis = \"either\nx", "0.toml:3: "),
        ("a = 1\na = 2", "0.toml:2: "),
    ];
    for (text, expected) in cases {
        let message = refused(text);
        assert!(message.starts_with(expected), "{message}\n{expected}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn what_a_rule_that_allows_can_not_rest_on_is_refused_with_what_to_write() {
    let rule = |allow: bool, selector: &str| {
        parse(&format!("[[policy.rule]]\nname = \"a\"\nallow = {allow}\n{selector}\n"))
    };
    let refused = |allow, selector| rule(allow, selector).unwrap_err().to_string();
    let message = refused(true, "process = \"sh\"");
    let start = "0.toml:4: policy.rule.process: \"sh\" is a name, which any program can give itself; write the program's path: \"/";
    assert!(message.starts_with(start), "{message}");
    assert!(message.contains("/bin/sh\""), "{message}");
    let message = refused(true, "process = \"no-such-program\"");
    assert!(message.ends_with("write the program's path"), "{message}");
    assert!(rule(false, "process = \"sh\"").is_ok());
    for (selector, problem) in [
        ("process = \"bin/sh\"", "is relative"),
        ("process = \"/usr/bin/*\"", "has wildcards"),
        ("process = \"/bin/../bin/sh\"", "goes round about"),
        ("sha256 = \"ab\"", "is no SHA-256"),
        ("container = \"a b\"", "is no container"),
    ] {
        for allow in [true, false] {
            let message = refused(allow, selector);
            assert!(message.starts_with("0.toml:4: policy.rule."), "{message}");
            assert!(message.contains(problem), "{message}");
        }
    }
}

/// What a changed form of the fingerprint would break: evidence names policies by it.
#[test]
fn a_policy_that_only_learns_is_another_and_keeps_every_flow() {
    let problem = "0.toml:2: policy.mode: \"lern\" is none of \"judge\", \"learn\"";
    assert!(refused("[policy]\nmode = \"lern\"").contains(problem));
    let [judging, learning] = ["judge", "learn"].map(|mode| {
        parse(&format!("[policy]\nmode = \"{mode}\"\n[store]\nrecord = \"unapproved\"")).unwrap()
    });
    assert_eq!(judging.policy, Config::builtin().policy);
    assert_ne!(judging.policy.sha256, learning.policy.sha256);
    assert_eq!(judging.store.record, RecordMode::Unapproved);
    assert_eq!(learning.store.record, RecordMode::All);
    let read = Reread::from_text(&learning.policy.text).unwrap();
    assert!(read.policy.is_learning());
    assert!(read.sentences()[0].contains("only learns"));
}

#[test]
fn the_form_that_is_hashed_has_a_version() {
    let text = "[policy]\napproved_countries = [\"US\"]\n[[policy.rule]]\nname = \"ntp\"\nallow = true\nprocess = \"/usr/sbin/chronyd\"\ncontainer = \"\"\nport = 123\n";
    let canonical = "geofenced policy 2\napproved US\nbasis either\ndisputed unapproved\n\
                     unknown unapproved\ntrust-claims false\n\
                     rule ntp allow=true process=\"/usr/sbin/chronyd\" container=\"\" port=123\n";
    let hash: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(canonical).into();
    assert_eq!(parse(text).unwrap().policy.sha256, hash);
}

#[test]
fn what_is_wrong_with_an_operator_is_one_line_with_its_key_and_place() {
    let cases = [
        ("[[geo.operator]]\nasn = 64500", "0.toml:2: geo.operator: says nothing"),
        ("[[geo.operator]]\nasn = 0\nanycast = true", "0.toml:2: geo.operator.asn:"),
        ("[[geo.operator]]\nasn = 64500\nname = \" \"", "0.toml:3: geo.operator.name: is empty"),
        (
            "[[geo.operator]]\nasn = 64500\nanycast = true\n[[geo.operator]]\nasn = 64500\nanycast = false",
            "0.toml:5: geo.operator.asn: AS64500 is described already at 0.toml:2",
        ),
    ];
    for (text, expected) in cases {
        let message = refused(text);
        assert!(message.starts_with(expected), "{message}\n{expected}");
    }
}

#[test]
fn drop_ins_are_read_in_name_order_and_an_error_names_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("config.toml");
    let drop_in = |name: &str, text: &str| {
        fs::write(folder.path().join("config.d").join(name), text).unwrap();
    };
    fs::create_dir(folder.path().join("config.d")).unwrap();
    fs::write(&main, "[policy]\napproved_countries = [\"US\"]\nbasis = \"location\"\n[[policy.rule]]\nname = \"a\"\nallow = true\n").unwrap();
    drop_in(
        "20-b.toml",
        "[policy]\napproved_countries = [\"DE\", \"CH\", \"DE\"]\n[[policy.rule]]\nname = \"c\"\nallow = false\n",
    );
    drop_in(
        "10-a.toml",
        "[policy]\napproved_countries = [\"CN\"]\n[[policy.rule]]\nname = \"b\"\nallow = true\n",
    );
    drop_in("30-c.toml.bak", "nonsense");
    drop_in(".30-c.toml", "nonsense");
    let config = Config::load(&main).unwrap();
    let codes: Vec<String> =
        config.policy.approved_countries.iter().map(ToString::to_string).collect();
    assert_eq!(codes, ["CH", "DE"]);
    assert_eq!(config.policy.basis, Basis::Location);
    let rules: Vec<&str> = config.policy.rules.iter().map(|rule| rule.name.as_ref()).collect();
    assert_eq!(rules, ["a", "b", "c"]);

    drop_in("40-d.toml", "\n[[policy.rule]]\nname = \"b\"\nallow = false\n");
    let message = Config::load(&main).unwrap_err().to_string();
    assert!(
        message.contains("config.d/40-d.toml:3: policy.rule.name: \"b\" is a rule already at"),
        "{message}"
    );
    assert!(message.ends_with("config.d/10-a.toml:4"), "{message}");
    drop_in("40-d.toml", "[polcy]");
    assert!(Config::load(&main).unwrap_err().to_string().contains("config.d/40-d.toml:1: unknown"));
}

#[test]
fn a_value_that_a_later_file_replaces_must_still_have_the_right_form() {
    let message = parse_all(&["[policy]\nbasis = 3", "[policy]\nbasis = \"either\""]).unwrap_err();
    assert!(message.to_string().starts_with("0.toml:2: policy.basis:"), "{message}");
    let replaced = parse_all(&["[geo]\ndatabase = \"/no/such\"", "[geo]\ndatabase = \"\""]);
    assert_eq!(replaced.unwrap(), Config::builtin());
}

#[test]
fn a_missing_file_that_was_named_is_an_error() {
    let message = Config::load_or_builtin(Some(Path::new("/no/such.toml"))).unwrap_err();
    assert!(message.to_string().starts_with("configuration /no/such.toml cannot be read:"));
}

#[test]
fn the_hash_is_of_the_text_with_overrides_in_any_order() {
    let [one, other] = [
        "network = \"203.0.113.0/24\"\ncountry = \"CN\"",
        "network = \"198.51.100.0/24\"\noperator = \"A \\\"b\\\"\"\nasn = 64500",
    ];
    let policy = |first, second| {
        let text = format!(
            "[[geo.override]]\n{first}\n[[geo.override]]\n{second}\n[[geo.operator]]\nasn = 64501\ncountry = \"DE\"\n"
        );
        parse(&text).unwrap().policy
    };
    let (told, turned) = (policy(one, other), policy(other, one));
    assert_eq!(told.sha256, turned.sha256);
    let end = "override 198.51.100.0/24 operator=\"A \\\"b\\\"\" asn=64500\noverride 203.0.113.0/24 country=CN\noperator 64501 country=DE\n";
    assert!(told.text.ends_with(end), "{}", told.text);
    let hash: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(told.text.as_bytes()).into();
    assert_eq!(told.sha256, hash);
}

#[test]
fn the_policys_hash_is_of_its_meaning() {
    let hash = |texts: &[&str]| parse_all(texts).unwrap().policy.sha256;
    let rule = "[[policy.rule]]\nname = \"ntp\"\nallow = true\nprocess = \"/usr/sbin/chronyd\"\n";
    let one = hash(&[&format!("[policy]\napproved_countries = [\"US\", \"CA\"]\n{rule}")]);
    let same = hash(&[
        "# a comment\npolicy = { approved_countries = [\"ca\", \"US\", \"CA\"], basis = \"either\" }",
        "[[policy.rule]]\nprocess = \"/usr/sbin/chronyd\"\nallow = true\nname = \"ntp\"\n[store]\nmax_size = \"1GiB\"\n",
    ]);
    assert_eq!(one, same);
    let same_policy = format!("[policy]\napproved_countries = [\"US\", \"CA\"]\n{rule}");
    let others = [
        format!("[policy]\napproved_countries = [\"US\"]\n{rule}"),
        format!("[policy]\napproved_countries = [\"US\", \"CA\"]\nbasis = \"location\"\n{rule}"),
        format!(
            "[policy]\napproved_countries = [\"US\", \"CA\"]\nlocal_networks = [\"203.0.113.0/24\"]\n{rule}"
        ),
        format!("[policy]\napproved_countries = [\"US\", \"CA\"]\n{rule}port = 123\n"),
        format!("[policy]\napproved_countries = [\"US\", \"CA\"]\ntrust_claims = true\n{rule}"),
        format!("[policy]\napproved_countries = [\"US\", \"CA\"]\n{rule}container = \"\"\n"),
        format!("[policy]\napproved_countries = [\"US\", \"CA\"]\n{rule}container = \"web\"\n"),
        format!(
            "[policy]\napproved_countries = [\"US\", \"CA\"]\n{rule}sha256 = \"{}\"\n",
            "ab".repeat(32)
        ),
        "[policy]\napproved_countries = [\"US\", \"CA\"]\n".to_owned(),
    ];
    let others = others.into_iter().chain([
        format!("[[geo.override]]\nnetwork = \"203.0.113.0/24\"\ncountry = \"CN\"\n{same_policy}"),
        format!("[[geo.override]]\nnetwork = \"203.0.113.0/24\"\ncountry = \"US\"\n{same_policy}"),
        format!("[[geo.operator]]\nasn = 64500\nanycast = true\n{same_policy}"),
    ]);
    let others: Vec<String> = others.collect();
    let mut all: Vec<[u8; 32]> = others.iter().map(|text| hash(&[text])).collect();
    all.push(one);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), others.len() + 1);
    let networks = |list| hash(&[&format!("[policy]\nlocal_networks = {list}\n")]);
    assert_eq!(
        networks("[\"203.0.113.0/25\", \"203.0.113.128/25\"]"),
        networks("[\"203.0.113.9/24\"]")
    );
}

#[test]
fn what_the_policy_means_is_said_in_sentences() {
    let config = parse(
        "[policy]\napproved_countries = [\"US\", \"CA\"]\nbasis = \"operator\"\n\
         [[policy.rule]]\nname = \"ntp\"\nallow = true\nprocess = \"/usr/sbin/no-such\"\ntransport = \"udp\"\nport = 123\n\
         [[policy.rule]]\nname = \"all\"\nallow = false\n\
         [[policy.rule]]\nname = \"late\"\nallow = true\noperator = \"cloud\"\n\
         [[geo.override]]\nnetwork = \"203.0.113.0/24\"\ncountry = \"CN\"\n\
         [[geo.operator]]\nasn = 64500\ncountry = \"CN\"\nanycast = true\n",
    );
    let said = explain(&config.unwrap()).join("\n");
    for sentence in [
        "Data may go to CA (Canada) and US (United States), and to no other country.",
        "Rule ntp allows udp port 123 from /usr/sbin/no-such.",
        "Warning: rule ntp can never match: there is no file /usr/sbin/no-such on this host.",
        "LD_PRELOAD, ptrace",
        "Rule all forbids everything: it has no selector",
        "Rule late allows everything run by an operator named like \"cloud\"; it is never reached",
        "Operators are looked up in our own database.",
        "203.0.113.0/24 counts as CN (China).",
        "AS64500 counts as in the hands of CN (China), anycast.",
        "for 30 days or up to 512 MiB.",
    ] {
        assert!(said.contains(sentence), "{sentence}\n---\n{said}");
    }
    // The embedded database knows operators and who has them in hand.
    assert!(!said.contains("no operator") && !said.contains("they never match"), "{said}");
    assert!(explain(&Config::builtin())[0].starts_with("No country is approved"));
    let mut wide = Config::builtin();
    wide.policy.approved_countries = codes::assigned()
        .filter(|code| ["CN", "RU"].iter().all(|it| code.as_str() != *it))
        .collect();
    let but = "Data may go to every country but CN (China) and RU (Russia).";
    assert_eq!(explain(&wide)[0], but);
}

#[test]
fn no_reserved_code_passes_as_a_country() {
    for code in ["EU", "UK", "AP", "ZZ"] {
        assert!(
            refused(&format!("[policy]\napproved_countries = [\"{code}\"]"))
                .contains("not assigned")
        );
        assert!(!codes::is_assigned(CountryCode::new(code).unwrap()));
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_every_error_is_one_line(
        lines in prop::collection::vec("[a-z_\\[\\]=\". 0-9{},é#-]{0,30}", 0..6),
    ) {
        if let Err(error) = parse_all(&["[policy]\nbasis = \"either\"", &lines.join("\n")]) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}
