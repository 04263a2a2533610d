//! Fills in what the preset of each service says, beneath what is written.

use serde::Deserialize as _;

use super::tree::{Key, Node, Value};
use crate::preset::Preset;

/// Keys whose value is a table of one entry, the kind: a written kind replaces the preset's, and
/// only the settings of the same kind are completed.
const KINDS: [&str; 2] = ["probe", "policy"];

/// Completes every service of the tree. A preset that is none is left for reading to name.
pub(super) fn complete(root: &mut Node) {
    let Value::Mapping(entries) = &mut root.value else { return };
    let Some((_, services)) = entries.iter_mut().find(|(key, _)| key.name == "services") else {
        return;
    };
    let Value::Sequence(services) = &mut services.value else { return };
    for service in services {
        let (preset, place) = match service.entry("preset") {
            Some(Node { value: Value::Text(name), place, .. }) => {
                let name = serde_json::Value::String(name.clone());
                match Preset::deserialize(name) {
                    Ok(preset) => (preset, *place),
                    Err(_left_for_reading) => continue,
                }
            }
            Some(_) => continue,
            None => (Preset::default(), service.place),
        };
        if matches!(service.value, Value::Mapping(_)) {
            merge(service, &Node::synthetic(&preset.defaults(), place));
        }
    }
}

/// Adds to `written` the entries of `defaults` that it lacks, at every depth.
fn merge(written: &mut Node, defaults: &Node) {
    let Value::Mapping(additions) = &defaults.value else { return };
    if written.value == Value::Null {
        written.value = Value::Mapping(Vec::new());
    }
    let Value::Mapping(entries) = &mut written.value else { return };
    for (key, default) in additions {
        match entries.iter_mut().find(|(known, _)| known.name == key.name) {
            Some((_, node)) if KINDS.contains(&key.name.as_str()) => merge_kind(node, default),
            Some((_, node)) => merge(node, default),
            None => {
                let key = Key { place: written.place, name: key.name.clone() };
                entries.push((key, default.clone()));
            }
        }
    }
}

fn merge_kind(written: &mut Node, default: &Node) {
    let Value::Mapping(kinds) = &mut written.value else { return };
    // Two kinds, or none, are for reading to name.
    if let [(kind, settings)] = kinds.as_mut_slice()
        && let Some(default) = default.entry(&kind.name)
    {
        merge(settings, default);
    }
}
