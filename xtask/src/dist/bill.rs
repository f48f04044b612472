//! What the binary is made of: a bill of materials (`CycloneDX`) and the licences of others' work. Read from
//! cargo's own metadata and from the sources of the very crates that were compiled.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Arch, product::Product};
use crate::{console::ask, host, paths};

/// A crate that is in the binary, or helped to make it.
#[derive(Debug)]
pub struct Crate {
    name: String,
    version: String,
    licence: String,
    folder: String,
    /// `None`: a part of this repository.
    sha256: Option<String>,
    needs: BTreeSet<String>,
}

/// By its id, all that a package is compiled from on this architecture.
pub fn crates(arch: Arch, package: &str) -> Result<BTreeMap<String, Crate>> {
    let mut cargo = host::cargo();
    cargo.args(["metadata", "--locked", "--format-version", "1", "--filter-platform"]);
    let text = ask(cargo.arg(arch.target())).context("cargo metadata failed")?;
    let lock = fs::read_to_string(paths::root().join("Cargo.lock"))?;
    of_metadata(package, &serde_json::from_str(&text)?, &checksums(&lock))
}

fn of_metadata(
    root: &str,
    metadata: &Value,
    checksums: &BTreeMap<(String, String), String>,
) -> Result<BTreeMap<String, Crate>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|it| (text(&it["id"]), it)).collect();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|it| (text(&it["id"]), it)).collect();
    let is_it = |it: &&Value| it["name"] == root;
    let root = packages.values().find(is_it).with_context(|| format!("no package {root}"))?;
    let (mut found, mut open) = (BTreeMap::new(), vec![text(&root["id"])]);
    while let Some(id) = open.pop() {
        if found.contains_key(&id) {
            continue;
        }
        let package = packages.get(&id).with_context(|| format!("{id} is no package"))?;
        // What only tests use is not in it.
        let deps = list(&nodes.get(&id).map_or(Value::Null, |node| node["deps"].clone()));
        let is_used = |dep: &Value| list(&dep["dep_kinds"]).iter().any(|it| it["kind"] != "dev");
        let needs: BTreeSet<String> =
            deps.iter().filter(|dep| is_used(dep)).map(|dep| text(&dep["pkg"])).collect();
        open.extend(needs.iter().cloned());
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let manifest = text(&package["manifest_path"]);
        let folder = Path::new(&manifest).parent().unwrap_or(Path::new("")).display().to_string();
        let sha256 = checksums.get(&(name.clone(), version.clone())).cloned();
        let licence = text(&package["license"]);
        found.insert(id, Crate { name, version, licence, folder, sha256, needs });
    }
    Ok(found)
}

/// Name and version, and what Cargo.lock says of their packages.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut sums = BTreeMap::new();
    let (mut name, mut version) = (String::new(), String::new());
    for line in lock.lines() {
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let value = value.trim_matches('"').to_owned();
        match key {
            "name" => name = value,
            "version" => version = value,
            "checksum" => {
                sums.insert((name.clone(), version.clone()), value);
            }
            _ => {}
        }
    }
    sums
}

/// `CycloneDX` 1.5, without a time or a number that another build would not have.
pub fn cyclonedx(product: &Product, crates: &BTreeMap<String, Crate>) -> Result<String> {
    let reference = |it: &Crate| format!("pkg:cargo/{}@{}", it.name, it.version);
    let component = |it: &Crate| {
        let mut component = json!({
            "type": "library", "bom-ref": reference(it), "name": it.name, "version": it.version,
            "purl": reference(it), "licenses": [{ "expression": it.licence.replace('/', " OR ") }],
        });
        if let Some(sha256) = &it.sha256 {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sha256 }]);
        }
        component
    };
    let (root, others): (Vec<&Crate>, Vec<&Crate>) =
        crates.values().partition(|it| it.name == product.package);
    let root = root.first().context("it is not made of itself")?;
    let dependencies = crates.values().map(|it| {
        let needs = it.needs.iter().filter_map(|id| crates.get(id)).map(reference);
        json!({ "ref": reference(it), "dependsOn": needs.collect::<Vec<_>>() })
    });
    let mut main = component(root);
    main["type"] = json!("application");
    main["name"] = json!(product.name);
    let bill = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": { "component": main },
        "components": others.into_iter().map(component).collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

/// Each text once, after the crates that it is of. A crate that brings none names its licence, whose text is
/// another's.
pub fn notices(product: &Product, crates: &BTreeMap<String, Crate>) -> Result<String> {
    let mut by_text: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut without = BTreeSet::new();
    for it in crates.values().filter(|it| it.sha256.is_some()) {
        let title = format!("{} {} ({})", it.name, it.version, it.licence);
        ensure!(!it.licence.is_empty(), "{title} names no licence");
        let texts = texts(Path::new(&it.folder))?;
        if texts.is_empty() {
            without.insert(title.clone());
        }
        for text in texts {
            by_text.entry(text).or_default().insert(title.clone());
        }
    }
    let mut by_crates: Vec<(Vec<String>, String)> =
        by_text.into_iter().map(|(text, titles)| (titles.into_iter().collect(), text)).collect();
    by_crates.sort();
    let name = product.name;
    let mut out =
        format!("What {name} is made of besides its own sources, and under which licences.\n");
    for title in without {
        let _ = write!(out, "\n{title}: without a text of its own");
    }
    for (titles, text) in by_crates {
        let _ = write!(out, "\n\n{}\n{}\n\n{text}", "=".repeat(80), titles.join("\n"));
    }
    Ok(out + "\n")
}

fn texts(folder: &Path) -> Result<Vec<String>> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("no sources at {}; run: cargo fetch", folder.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && is_licence(path))
        .collect();
    files.sort();
    let read = |path| Ok(String::from_utf8_lossy(&fs::read(path)?).trim().replace('\r', ""));
    files.into_iter().map(read).collect()
}

fn is_licence(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"].iter().any(|it| name.starts_with(it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::product::DAEMON;

    const LOCK: &str = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"aa\"\n\n\
                        [[package]]\nname = \"monitor\"\nversion = \"0.1.0\"\n";

    fn sample(folder: &Path) -> BTreeMap<String, Crate> {
        let package = |name: &str, version: &str| {
            json!({ "id": name, "name": name, "version": version, "license": "MIT/Apache-2.0",
                    "manifest_path": folder.join(name).join("Cargo.toml") })
        };
        let dep = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [package("monitor", "0.1.0"), package("a", "1.0.0"), package("t", "1.0.0")],
            "resolve": { "nodes": [
                { "id": "monitor", "deps": [dep("a", Value::Null), dep("t", json!("dev"))] },
                { "id": "a", "deps": [] },
            ] },
        });
        of_metadata("monitor", &metadata, &checksums(LOCK)).unwrap()
    }

    #[test]
    fn the_bill_has_what_is_compiled_in_with_its_hash_and_nothing_of_the_tests() {
        let bill: Value =
            serde_json::from_str(&cyclonedx(&DAEMON, &sample(Path::new("/x"))).unwrap()).unwrap();
        assert_eq!(bill["metadata"]["component"]["name"], "geofenced");
        let components = bill["components"].as_array().unwrap();
        assert_eq!(components.len(), 1);
        assert_eq!(components[0]["purl"], "pkg:cargo/a@1.0.0");
        assert_eq!(components[0]["hashes"][0]["content"], "aa");
        assert_eq!(components[0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    }

    #[test]
    fn notices_hold_the_text_of_each_licence_of_others() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/LICENSE-MIT"), "Copyright A\r\n").unwrap();
        fs::write(folder.path().join("a/lib.rs"), "code").unwrap();
        let notices = notices(&DAEMON, &sample(folder.path())).unwrap();
        assert!(notices.contains("a 1.0.0 (MIT/Apache-2.0)\n\nCopyright A"), "{notices}");
        assert!(!notices.contains("code") && !notices.contains("monitor"), "{notices}");
    }
}
