//! The text of a config as a tree in which every value knows its place.
//!
//! The tree stands between the YAML parser and the types of the config, so that one run can name
//! every mistake: a value that no type accepts is noted, cut out, and the rest is read again.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, Spanned};

use super::mistake::{Mistake, Place, lines};
use super::syntax;

/// A config has a few hundred lines; what is larger is another file, or an attack.
pub(super) const LARGEST: usize = 1024 * 1024;

/// Deeper than any config of ours by far, shallower than any stack.
pub(super) const DEEPEST: usize = 32;

/// More values than any config of ours has, those repeated by aliases included.
pub(super) const MOST_VALUES: usize = 50_000;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
    /// The keys of what was wrong in it and has been cut out (of a list: empty names), so that
    /// their absence is no mistake.
    pub(crate) pruned: Vec<String>,
    /// Whether it stands for what is missing or was cut out, so that reading can go on. What is
    /// wrong with it is no mistake.
    pub(crate) made_up: bool,
}

/// What YAML knows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    /// With the text as it was written: `443` may be wanted as a text.
    Bool(bool, String),
    Integer(i64, String),
    Float(f64, String),
    Text(String),
    Sequence(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

/// The key of an entry, with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) name: String,
}

/// One step from a node to one inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

impl Node {
    /// Reads a file. Mistakes that still leave a tree, such as a key that stands twice, are added
    /// to `mistakes`.
    ///
    /// # Errors
    /// The one mistake after which there is no tree.
    pub(crate) fn read(bytes: &[u8], mistakes: &mut Vec<Mistake>) -> Result<Self, Mistake> {
        if bytes.len() > LARGEST {
            let message = format!("the file is too large: a config has at most {LARGEST} bytes");
            return Err(Mistake::new(Place::START, message));
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let place = Place::of_offset(bytes, error.valid_up_to());
                return Err(Mistake::new(place, "the file is not UTF-8 from here on"));
            }
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        if let Some(offset) = text.find(odd) {
            let place = Place::of_offset(text.as_bytes(), offset);
            let character = text.get(offset..).and_then(|rest| rest.chars().next());
            let code = character.map_or(0, u32::from);
            return Err(Mistake::new(place, format!("a control character (U+{code:04X})")));
        }
        let nothing = lines(text).all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || line == "---"
        });
        if nothing {
            let message = "the file is empty: it starts with `apiVersion: evenkeel.dev/v1alpha1`";
            return Err(Mistake::new(Place::START, message));
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: DEEPEST,
                max_nodes: MOST_VALUES,
                max_documents: 1,
            },
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            strict_booleans: true,
        };
        let root: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| syntax::mistake(text, &error))?;
        Ok(Self::from_raw(root, text, mistakes))
    }

    /// A value that nobody wrote, in the place of the one that stands for it.
    pub(crate) fn synthetic(value: &serde_json::Value, place: Place) -> Self {
        let value = match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value, value.to_string()),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(integer) => Value::Integer(integer, number.to_string()),
                None => Value::Float(number.as_f64().unwrap_or(0.0), number.to_string()),
            },
            serde_json::Value::String(text) => Value::Text(text.clone()),
            serde_json::Value::Array(items) => {
                Value::Sequence(items.iter().map(|item| Self::synthetic(item, place)).collect())
            }
            serde_json::Value::Object(entries) => Value::Mapping(
                entries
                    .iter()
                    .map(|(name, value)| {
                        (Key { place, name: name.clone() }, Self::synthetic(value, place))
                    })
                    .collect(),
            ),
        };
        Self { place, value, pruned: Vec::new(), made_up: false }
    }

    fn from_raw(raw: Spanned<Raw>, text: &str, mistakes: &mut Vec<Mistake>) -> Self {
        let place = place(&raw.referenced);
        let written = || source(text, &raw.referenced).to_owned();
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(value, written()),
            Raw::Integer(value) => Value::Integer(value, written()),
            Raw::Float(value) => match written() {
                // An integer that fits none.
                digits if !digits.contains(['.', 'e', 'E']) && value.is_finite() => {
                    Value::Text(digits)
                }
                written => Value::Float(value, written),
            },
            Raw::Text(value) => Value::Text(value),
            Raw::Sequence(items) => Value::Sequence(
                items.into_iter().map(|item| Self::from_raw(item, text, mistakes)).collect(),
            ),
            Raw::Mapping(entries) => {
                let mut unique: Vec<(Key, Self)> = Vec::new();
                let mut first: BTreeMap<String, usize> = BTreeMap::new();
                for (key, value) in entries {
                    let key = Key { place: self::place(&key.referenced), name: key.value };
                    if let Some(line) = first.get(&key.name) {
                        let message =
                            format!("the key `{}` stands twice: first in line {line}", key.name);
                        mistakes.push(Mistake::new(key.place, message));
                        continue;
                    }
                    first.insert(key.name.clone(), key.place.line);
                    unique.push((key, Self::from_raw(value, text, mistakes)));
                }
                Value::Mapping(unique)
            }
        };
        Self { place, value, pruned: Vec::new(), made_up: false }
    }

    /// The entry of a mapping.
    pub(crate) fn entry(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Mapping(entries) => {
                entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
            }
            Value::Null
            | Value::Bool(..)
            | Value::Integer(..)
            | Value::Float(..)
            | Value::Text(_)
            | Value::Sequence(_) => None,
        }
    }

    /// The node that the steps lead to, as far as they lead; with the place of its key, if it has
    /// one. A kind (`{https: {..}}`) need not be named by a step.
    pub(crate) fn find(&self, steps: &[Step]) -> (&Self, Place) {
        let Some((step, rest)) = steps.split_first() else { return (self, self.place) };
        if let Value::Mapping(entries) = &self.value
            && let [(kind, settings)] = entries.as_slice()
        {
            match step {
                Step::Key(name) if *name != kind.name => return settings.find(steps),
                Step::Index(_) => return settings.find(rest),
                Step::Key(_) => {}
            }
        }
        let (next, key_place) = match (&self.value, step) {
            (Value::Mapping(entries), Step::Key(name)) => {
                match entries.iter().find(|(key, _)| key.name == *name) {
                    Some((key, node)) => (node, key.place),
                    None => return (self, self.place),
                }
            }
            (Value::Sequence(items), Step::Index(index)) => match items.get(*index) {
                Some(node) => (node, node.place),
                None => return (self, self.place),
            },
            _ => return (self, self.place),
        };
        if rest.is_empty() { (next, key_place) } else { next.find(rest) }
    }

    /// Makes up what the table that the steps lead to lacks. Says whether it did.
    pub(crate) fn make_up(&mut self, steps: &[Step], name: &str) -> bool {
        let mut node = self;
        for step in steps {
            let next = match (&mut node.value, step) {
                (Value::Mapping(entries), Step::Key(name)) => {
                    entries.iter_mut().find(|(key, _)| key.name == *name).map(|(_, node)| node)
                }
                (Value::Sequence(items), Step::Index(index)) => items.get_mut(*index),
                _ => None,
            };
            let Some(next) = next else { return false };
            node = next;
        }
        if node.value == Value::Null {
            node.value = Value::Mapping(Vec::new());
        }
        let Value::Mapping(entries) = &mut node.value else { return false };
        if entries.iter().any(|(key, _)| key.name == name) {
            return false;
        }
        let key = Key { place: node.place, name: name.to_owned() };
        let value =
            Self { place: node.place, value: Value::Null, pruned: Vec::new(), made_up: true };
        entries.push((key, value));
        true
    }

    /// Cuts the node out that the steps lead to. Says whether there was one.
    pub(crate) fn prune(&mut self, steps: &[Step]) -> bool {
        let Some((step, rest)) = steps.split_first() else { return false };
        if rest.is_empty() {
            let cut = match (&mut self.value, step) {
                (Value::Mapping(entries), Step::Key(name)) => {
                    let before = entries.len();
                    entries.retain(|(key, _)| key.name != *name);
                    entries.len() < before
                }
                (Value::Sequence(items), Step::Index(index)) if *index < items.len() => {
                    items.remove(*index);
                    true
                }
                _ => false,
            };
            if cut {
                self.pruned.push(match step {
                    Step::Key(name) => name.clone(),
                    Step::Index(_) => String::new(),
                });
            }
            return cut;
        }
        match (&mut self.value, step) {
            (Value::Mapping(entries), Step::Key(name)) => entries
                .iter_mut()
                .find(|(key, _)| key.name == *name)
                .is_some_and(|(_, node)| node.prune(rest)),
            (Value::Sequence(items), Step::Index(index)) => {
                items.get_mut(*index).is_some_and(|node| node.prune(rest))
            }
            _ => false,
        }
    }
}

pub(super) fn place(location: &Location) -> Place {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Place {
        line: number(location.line()).max(1),
        column: number(location.column()).max(1),
        length: number(location.span().len()).max(1),
    }
}

fn source<'a>(text: &'a str, location: &Location) -> &'a str {
    let span = location.span();
    let range = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
        let start = usize::try_from(start).ok()?;
        text.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    });
    range.unwrap_or_default().trim()
}

/// A value as the parser hands it over.
#[derive(Debug)]
enum Raw {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Sequence(Vec<Spanned<Self>>),
    Mapping(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw, E> {
        Ok(i64::try_from(value).map_or_else(|_| Raw::Text(value.to_string()), Raw::Integer))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut sequence = Vec::new();
        while let Some(item) = items.next_element()? {
            sequence.push(item);
        }
        Ok(Raw::Sequence(sequence))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut mapping = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            mapping.push(entry);
        }
        Ok(Raw::Mapping(mapping))
    }
}
