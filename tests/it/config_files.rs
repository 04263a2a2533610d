//! The files under `config/`: every one is valid, and the reference is complete and true.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{evenkeel, stderr, stdout};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

fn text(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = [folder(), folder().join("examples")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    files
}

fn on_file(args: &[&str], file: &Path) -> Output {
    evenkeel(&[args, &["--config", file.to_str().unwrap()]].concat())
}

/// What `config show` says of a file.
fn shown(file: &Path) -> String {
    let output = on_file(&["config", "show"], file);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

fn written(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    path
}

fn parsed(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

/// The text with every alternative and every key that has no default: those behind a `#` without
/// a blank.
fn with_alternatives(text: &str) -> String {
    let uncommented = |line: &str| match line.trim_start().strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with([' ', '#']) => {
            line.replacen('#', "", 1)
        }
        Some(_) | None => line.to_owned(),
    };
    text.lines().map(uncommented).collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn every_file_is_valid_and_only_the_minimal_one_has_a_warning() {
    for file in files() {
        let output = on_file(&["check", "--strict"], &file);
        let expected = if file.ends_with("minimal.yaml") { 4 } else { 0 };
        let told = stdout(&output) + &stderr(&output);
        assert_eq!(output.status.code(), Some(expected), "{}: {told}", file.display());
    }
}

#[test]
fn what_is_shown_of_a_file_is_shown_of_what_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    for file in files() {
        let once = shown(&file);
        let again = shown(&written(&folder, &once));
        assert_eq!(once, again, "{}", file.display());
    }
}

#[test]
fn the_minimal_file_is_the_example_that_everyone_is_shown() {
    let minimal = r#"apiVersion: evenkeel.dev/v1alpha1
kind: LoadBalancer
services:
  - name: kube-apiserver
    preset: kube-apiserver
    listen: {addresses: ["0.0.0.0:6443"]}
    sources: [{static: {endpoints: ["10.0.0.11:6443", "10.0.0.12:6443", "10.0.0.13:6443"]}}]
"#;
    assert_eq!(text("minimal.yaml"), minimal);
    if let Ok(readme) = fs::read_to_string(folder().join("../README.md"))
        && readme.contains("apiVersion: evenkeel.dev")
    {
        assert!(
            readme.contains(minimal),
            "the README has another example than config/minimal.yaml"
        );
    }
}

#[test]
fn the_schema_is_the_one_of_the_binary() {
    let schema = stdout(&evenkeel(&["config", "schema"]));
    assert_eq!(text("schema.json"), schema, "evenkeel config schema >config/schema.json");
}

#[test]
fn what_the_reference_writes_is_the_default() {
    // The minimal file writes nothing that the reference calls a default.
    let mut reference = parsed(&shown(&folder().join("reference.yaml")));
    let minimal = parsed(&shown(&folder().join("minimal.yaml")));
    let service = reference["services"][0].as_object_mut().unwrap();
    service.remove("credentials").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let with_vip = text("minimal.yaml") + "vips: [{name: api, addresses: [\"10.0.0.10\"]}]\n";
    let minimal_vip = parsed(&shown(&written(&folder, &with_vip)));
    assert_eq!(reference["vips"].take(), minimal_vip["vips"]);
    reference["vips"] = json!([]);
    assert_eq!(reference, minimal);
    // And it writes every one of them.
    let mut written = parsed(&text("reference.yaml"));
    written["services"][0].as_object_mut().unwrap().remove("credentials").unwrap();
    let vip = &mut written["vips"][0];
    vip["mode"]["l2"]["peers"] = json!([]);
    assert_eq!(written["vips"].take(), minimal_vip["vips"]);
    written["vips"] = json!([]);
    // But of this table, of which no key has a default that is the same on every host.
    assert_eq!(written["dataPlane"].take(), Value::Null);
    written["dataPlane"] = json!({});
    assert_eq!(written, minimal);
}

#[test]
fn the_reference_names_every_key_of_the_schema() {
    let schema: Value = serde_json::from_str(&text("schema.json")).unwrap();
    let reference = text("reference.yaml");
    let tree = parsed(&with_alternatives(&reference));
    let mut walk = Walk { defs: &schema["$defs"], reference: &reference, keys: 0, wrong: vec![] };
    walk.compare(&schema, &tree, "");
    assert!(walk.wrong.is_empty(), "{:#?}", walk.wrong);
    assert!(walk.keys > 50, "only {} keys were found", walk.keys);
}

/// Compares the schema with the reference, which has all kinds side by side.
struct Walk<'a> {
    defs: &'a Value,
    reference: &'a str,
    keys: usize,
    wrong: Vec<String>,
}

impl Walk<'_> {
    fn compare(&mut self, schema: &Value, tree: &Value, path: &str) {
        let referred = schema["$ref"].as_str().map(|path| path.rsplit('/').next().unwrap());
        if let Some(name) = referred {
            let definition = self.defs[name].clone();
            self.compare(&definition, tree, path);
        }
        for either in ["oneOf", "anyOf"].iter().filter_map(|key| schema[*key].as_array()).flatten()
        {
            self.compare(either, tree, path);
        }
        if let Some(word) = schema["const"].as_str()
            && !self
                .reference
                .split(|c: char| c.is_whitespace() || ",.;:()".contains(c))
                .any(|w| w == word)
            && !self.reference.contains(&format!(": {word}\n"))
        {
            self.wrong.push(format!("{path}: the value {word} is not named"));
        }
        if let Some(properties) = schema["properties"].as_object() {
            for (key, value) in properties {
                let path = format!("{path}.{key}");
                self.keys += 1;
                match tree.get(key) {
                    Some(tree) => {
                        self.default(value, tree, &path);
                        self.compare(value, tree, &path);
                    }
                    None => self.wrong.push(format!("{path} is missing")),
                }
            }
            let known = |key: &&String| properties.contains_key(*key);
            let kinds = properties.len() == 1;
            if let Some(odd) = tree.as_object().unwrap().keys().find(|key| !kinds && !known(key)) {
                self.wrong.push(format!("{path}.{odd} is no key"));
            }
        }
        if let Some(items) = schema.get("items") {
            self.compare(items, &tree[0], &format!("{path}[0]"));
        }
    }

    /// A table's defaults are those of its keys, and what a preset brings is held by another test.
    fn default(&mut self, schema: &Value, tree: &Value, path: &str) {
        let default = &schema["default"];
        let of_preset = [".services[0].preset", ".services[0].quorum"].contains(&path);
        // By default none, and an example is what one learns from.
        let is_example = path == ".vips" || path.rsplit('.').next() == Some("peers");
        let excepted = of_preset || is_example;
        if !default.is_null() && !default.is_object() && !excepted && default != tree {
            self.wrong.push(format!("{path} is {tree}, but its default is {default}"));
        }
    }
}

#[test]
fn every_alternative_of_the_reference_is_valid() {
    let tree = parsed(&with_alternatives(&text("reference.yaml")));
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    for (pointer, needs_ca) in [
        ("/services/0/sources/0", true),
        ("/services/0/credentials", false),
        ("/services/0/health/probe", false),
        ("/services/0/policy", false),
        ("/vips/0/mode", false),
        ("/vips/0/mode/hook/call", false),
    ] {
        let kinds = tree.pointer(pointer).unwrap().as_object().unwrap();
        assert!(kinds.len() >= 2, "{pointer}: {kinds:?}");
        for (kind, settings) in kinds {
            let mut config = tree.clone();
            // One kind each.
            let service = &mut config["services"][0];
            service["credentials"] = json!({"files": service["credentials"]["files"]});
            service["health"]["probe"] = json!({"tcp": {}});
            service["policy"] = json!({"leastConnections": {}});
            service["sources"] = json!([{"static": service["sources"][0]["static"]}]);
            let mut mode = config["vips"][0]["mode"].clone();
            mode["hook"]["call"] = json!({"exec": mode["hook"]["call"]["exec"]});
            let within_hook = pointer.contains("/hook");
            let kept = if within_hook || kind == "hook" { "hook" } else { "l2" };
            let settings = if kind == "hook" { &mode["hook"] } else { settings };
            config["vips"][0]["mode"] = json!({kept: mode[kept]});
            *config.pointer_mut(pointer).unwrap() = json!({kind: settings});
            let file = written(&folder, &config.to_string());
            let output = on_file(&["check"], &file);
            assert_eq!(output.status.code(), Some(0), "{pointer}/{kind}: {}", stderr(&output));
            if needs_ca {
                config["services"][0].as_object_mut().unwrap().remove("credentials");
                let output = on_file(&["check"], &written(&folder, &config.to_string()));
                let expected = if kind == "static" { 0 } else { 3 };
                assert_eq!(output.status.code(), Some(expected), "{}", stderr(&output));
            }
            count += 1;
        }
    }
    assert_eq!(count, 16);
}

/// `100ms to 1m` in a comment means that just these are valid, and what is beyond is not.
#[test]
fn the_ranges_in_the_reference_are_true() {
    let reference = text("reference.yaml");
    let folder = tempfile::tempdir().unwrap();
    let (mut comment, mut keys) = (String::new(), vec![]);
    let mut alternative = None;
    for (number, line) in reference.lines().enumerate() {
        let trimmed = line.trim_start();
        let depth = line.len() - trimmed.len();
        // The settings of an alternative cannot be written without it; its own tests hold them.
        if alternative.is_some_and(|outer| depth > outer) {
            comment.clear();
            continue;
        }
        let is_alternative = trimmed.starts_with("#hook:");
        alternative = is_alternative.then_some(depth);
        if trimmed.starts_with("# ") {
            comment += trimmed;
            continue;
        }
        let range = std::mem::take(&mut comment);
        let Some((key, value)) = trimmed.trim_start_matches('#').split_once(": ") else { continue };
        let Some((least, most)) = range_in(&range) else { continue };
        if value.starts_with('[') {
            continue;
        }
        keys.push(key.to_owned());
        for (value, valid) in [
            (least.clone(), true),
            (most.clone(), true),
            (beyond(&least, -1), false),
            (beyond(&most, 1), false),
        ] {
            let mut lines: Vec<String> = reference.lines().map(ToOwned::to_owned).collect();
            let indent = " ".repeat(line.len() - trimmed.len());
            lines[number] = format!("{indent}{key}: {value}");
            // What else must fit: fewer endpoints than members, an attempt within the timeout.
            for line in &mut lines {
                if key == "members" {
                    *line = line.replace(r#", "10.0.0.12:6443", "10.0.0.13:6443""#, "");
                }
                if key == "attemptDelay" || key == "attemptTimeout" {
                    *line = line.replace(" timeout: 5s", " timeout: 1m");
                }
                if key == "attemptDelay" {
                    *line = line.replace("attemptTimeout: 2s", "attemptTimeout: 30s");
                }
                if key == "attemptTimeout" || key == "timeout" {
                    *line = line.replace("attemptDelay: 100ms", "attemptDelay: 10ms");
                }
                if key == "timeout" {
                    *line = line.replace("attemptTimeout: 2s", "attemptTimeout: 10ms");
                }
            }
            let output = on_file(&["check"], &written(&folder, &lines.join("\n")));
            let expected = if valid { 0 } else { 3 };
            let told = stderr(&output);
            assert_eq!(output.status.code(), Some(expected), "{key}: {value}: {told}");
        }
    }
    let expected = [
        "drainTimeout",
        "threads",
        "vrid",
        "rank",
        "interval",
        "lifetime",
        "maxConnections",
        "maxConnectionsPerClient",
        "acceptRate",
        "acceptRatePerClient",
        "interval",
        "connectTimeout",
        "tlsTimeout",
        "answerTimeout",
        "rise",
        "fall",
        "brake",
        "shuttingDown",
        "refused",
        "etcdUnready",
        "left",
        "resetRate",
        "shutdownDelay",
        "slowStart",
        "maxSkew",
        "rate",
        "idle",
        "attemptDelay",
        "attemptTimeout",
        "timeout",
        "idleTimeout",
        "halfClosedTimeout",
        "keepaliveIdle",
        "keepaliveInterval",
        "keepaliveCount",
        "userTimeout",
        "clientUserTimeout",
        "backendUserTimeout",
        "members",
    ];
    assert_eq!(keys, expected);
}

fn range_in(comment: &str) -> Option<(String, String)> {
    let words: Vec<&str> =
        comment.split_whitespace().map(|word| word.trim_end_matches(['.', ',', ';'])).collect();
    let number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let at =
        words.windows(3).find(|three| three[1] == "to" && number(three[0]) && number(three[2]))?;
    Some((at[0].to_owned(), at[2].to_owned()))
}

/// A value that is beyond by the least that can be written.
fn beyond(value: &str, step: i64) -> String {
    let unit = value.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: i64 = value.strip_suffix(unit).unwrap().parse().unwrap();
    let milliseconds = match unit {
        "" => return (number + step).to_string(),
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        other => panic!("{other} is no unit"),
    };
    format!("{}ms", number * milliseconds + step)
}

#[test]
fn the_examples_stay_valid_with_what_they_suggest() {
    let folder = tempfile::tempdir().unwrap();
    let kubeadm = with_alternatives(&text("examples/kubeadm.yaml"))
        .replace("      files:\n        ca: /etc/kubernetes/pki/ca.crt\n", "");
    let k3s = with_alternatives(&text("examples/k3s.yaml"))
        .replace("      kubeconfig:\n        file: /etc/evenkeel/k3s.yaml\n", "");
    for (text, sources, kind) in [(kubeadm, 2, "kubeconfig"), (k3s, 2, "files")] {
        let file = written(&folder, &text);
        let output = on_file(&["check", "--strict"], &file);
        assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
        let config = parsed(&shown(&file));
        assert_eq!(config["services"][0]["sources"].as_array().unwrap().len(), sources);
        assert!(config["services"][0]["credentials"].get(kind).is_some(), "{config}");
    }
}
