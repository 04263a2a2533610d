//! Makes typed values of a tree; every error knows the steps to where it arose.

use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

use super::mistake::{MOST, Mistake, Place};
use super::tree::{Node, Step, Value};
use super::words::{choice, found, is_integer, is_unsigned, list, out_of_range, words};

/// Reads a typed value, and every mistake of the tree: what cannot be read is noted and cut out,
/// what is missing is noted and made up, and the rest is read again. `None` where what remains is
/// no value.
pub(crate) fn read<T: DeserializeOwned>(root: &mut Node, mistakes: &mut Vec<Mistake>) -> Option<T> {
    while mistakes.len() <= MOST {
        match T::deserialize(Reader { node: root, steps: None }) {
            Ok(value) => return Some(value),
            Err(mut error) => {
                let (node, key_place) = root.find(&error.steps);
                // A key that is missing for having been cut out is no mistake of its own.
                let cut = |key: &str| node.pruned.iter().any(|pruned| pruned == key);
                let consequence = node.made_up
                    || match &error.fault {
                        Fault::Missing(key) => cut(key),
                        Fault::NoKind => !node.pruned.is_empty(),
                        Fault::Value | Fault::Key => false,
                    };
                if !consequence {
                    let place = match error.fault {
                        Fault::Value | Fault::NoKind => node.place,
                        // The start of the table that lacks it, not the whole of it.
                        Fault::Missing(_) => Place { length: 1, ..node.place },
                        Fault::Key => key_place,
                    };
                    mistakes.push(Mistake::new(place, error.message));
                }
                if let Fault::Missing(key) = error.fault
                    && root.make_up(&error.steps, key)
                {
                    continue;
                }
                while !root.prune(&error.steps) {
                    error.steps.pop()?;
                }
            }
        }
    }
    None
}

/// Why a node is not what is wanted.
#[derive(Debug)]
pub(crate) struct ReadError {
    message: String,
    steps: Vec<Step>,
    fault: Fault,
    located: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Value,
    Key,
    Missing(&'static str),
    /// A table that names no kind.
    NoKind,
}

impl ReadError {
    fn at(mut self, steps: Option<&Steps<'_>>) -> Self {
        if !self.located {
            self.located = true;
            let mut next = steps;
            while let Some(step) = next {
                self.steps.push(step.step.clone());
                next = step.parent;
            }
            self.steps.reverse();
        }
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

fn error(fault: Fault, message: String) -> ReadError {
    ReadError { message, steps: Vec::new(), fault, located: false }
}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        error(Fault::Value, message.to_string())
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        if let de::Unexpected::Str(text) = unexpected
            && is_unsigned(&expected)
            && is_integer(text)
        {
            // In quotes, or more than even the parser could hold.
            return Self::custom(if text.parse::<i64>().is_ok() {
                format!("`{text}` is a text: write it without quotes")
            } else {
                out_of_range(text)
            });
        }
        Self::custom(format!("{}: expected {}", found(&unexpected), words(&expected)))
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        if let de::Unexpected::Signed(value) = unexpected
            && is_unsigned(&expected)
        {
            return Self::custom(out_of_range(&value.to_string()));
        }
        Self::custom(format!("{}: expected {}", found(&unexpected), words(&expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("unknown `{variant}`: {}", choice(variant, expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        error(Fault::Key, format!("unknown key `{field}`: {}", choice(field, expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        error(Fault::Missing(field), format!("the key `{field}` is missing"))
    }
}

/// The way to a node, innermost first.
#[derive(Clone, Copy)]
struct Steps<'a> {
    step: &'a Step,
    parent: Option<&'a Self>,
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    steps: Option<&'a Steps<'a>>,
}

impl Reader<'_> {
    /// What is written there, for a message.
    fn written(self) -> String {
        match &self.node.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(_, written) | Value::Integer(_, written) | Value::Float(_, written) => {
                format!("`{written}`")
            }
            Value::Text(text) => format!("`{text}`"),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a table".to_owned(),
        }
    }

    /// Hands the node to the visitor as what it is.
    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let value = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value, _) => visitor.visit_bool(*value),
            Value::Integer(value, _) => visitor.visit_i64(*value),
            Value::Float(value, _) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::Sequence(items) => {
                visitor.visit_seq(Items { items: items.iter().enumerate(), steps: self.steps })
            }
            Value::Mapping(_) => visitor.visit_map(Entries::new(self)),
        };
        value.map_err(|error: ReadError| error.at(self.steps))
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.visit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            Value::Bool(..)
            | Value::Integer(..)
            | Value::Float(..)
            | Value::Text(_)
            | Value::Sequence(_)
            | Value::Mapping(_) => visitor.visit_some(self),
        }
        .map_err(|error: ReadError| error.at(self.steps))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        // `443`, `1e3` and `true` are texts where a text is wanted, as they were written.
        match &self.node.value {
            Value::Null if self.node.made_up => visitor.visit_str(""),
            Value::Bool(_, written) | Value::Integer(_, written) | Value::Float(_, written)
                if !written.is_empty() =>
            {
                visitor.visit_str(written).map_err(|error: ReadError| error.at(self.steps))
            }
            Value::Null
            | Value::Bool(..)
            | Value::Integer(..)
            | Value::Float(..)
            | Value::Text(_)
            | Value::Sequence(_)
            | Value::Mapping(_) => self.visit(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.node.value {
            // `health:` with nothing below it, all entries commented out.
            Value::Null => visitor
                .visit_map(Entries::new(self))
                .map_err(|error: ReadError| error.at(self.steps)),
            Value::Mapping(_) => self.visit(visitor),
            Value::Bool(..)
            | Value::Integer(..)
            | Value::Float(..)
            | Value::Text(_)
            | Value::Sequence(_) => {
                let message = format!("{}: expected a table (`key: value`)", self.written());
                Err(error(Fault::Value, message).at(self.steps))
            }
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.node.made_up {
            return visitor.visit_seq(Items { items: std::iter::empty(), steps: self.steps });
        }
        self.visit(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Null if self.node.made_up => {
                let name = variants.first().copied().unwrap_or_default();
                visitor.visit_enum(Word { name, steps: self.steps })
            }
            Value::Text(name) => visitor.visit_enum(Word { name, steps: self.steps }),
            Value::Mapping(entries) => match entries.as_slice() {
                [(key, value)] => {
                    let step = Step::Key(key.name.clone());
                    visitor.visit_enum(Variant {
                        name: &key.name,
                        value,
                        steps: Steps { step: &step, parent: self.steps },
                        outer: self.steps,
                    })
                }
                [] => Err(error(
                    Fault::NoKind,
                    format!("nothing: expected one of {}", list(variants)),
                )),
                [_, (second, _), ..] => {
                    let step = Step::Key(second.name.clone());
                    let steps = Steps { step: &step, parent: self.steps };
                    let message = format!(
                        "`{}` is one too many: expected one of {}",
                        second.name,
                        list(variants)
                    );
                    Err(error(Fault::Key, message).at(Some(&steps)))
                }
            },
            Value::Null
            | Value::Bool(..)
            | Value::Integer(..)
            | Value::Float(..)
            | Value::Sequence(_) => {
                let expected = match variants {
                    [_] => list(variants),
                    _ => format!("one of {}", list(variants)),
                };
                Err(error(Fault::Value, format!("{}: expected {expected}", self.written())))
            }
        }
        .map_err(|error: ReadError| error.at(self.steps))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'a, I> {
    items: I,
    steps: Option<&'a Steps<'a>>,
}

impl<'de, 'a, I: Iterator<Item = (usize, &'a Node)>> SeqAccess<'de> for Items<'a, I> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let step = Step::Index(index);
        let steps = Steps { step: &step, parent: self.steps };
        seed.deserialize(Reader { node, steps: Some(&steps) })
            .map(Some)
            .map_err(|error| error.at(Some(&steps)))
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, (super::tree::Key, Node)>,
    value: Option<(&'a str, &'a Node)>,
    steps: Option<&'a Steps<'a>>,
}

impl<'a> Entries<'a> {
    fn new(reader: Reader<'a>) -> Self {
        let entries = match &reader.node.value {
            Value::Mapping(entries) => entries.iter(),
            Value::Null
            | Value::Bool(..)
            | Value::Integer(..)
            | Value::Float(..)
            | Value::Text(_)
            | Value::Sequence(_) => [].iter(),
        };
        Self { rest: entries, value: None, steps: reader.steps }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let Some((key, node)) = self.rest.next() else { return Ok(None) };
        self.value = Some((&key.name, node));
        let step = Step::Key(key.name.clone());
        let steps = Steps { step: &step, parent: self.steps };
        seed.deserialize(key.name.as_str().into_deserializer())
            .map(Some)
            .map_err(|error: ReadError| error.at(Some(&steps)))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let (name, node) = self
            .value
            .take()
            .ok_or_else(|| error(Fault::Value, "a value without key".to_owned()))?;
        let step = Step::Key(name.to_owned());
        let steps = Steps { step: &step, parent: self.steps };
        seed.deserialize(Reader { node, steps: Some(&steps) })
            .map_err(|error| error.at(Some(&steps)))
    }
}

/// A variant without settings, or a kind that lacks them.
struct Word<'a> {
    name: &'a str,
    steps: Option<&'a Steps<'a>>,
}

impl<'de> EnumAccess<'de> for Word<'_> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let name = seed
            .deserialize(self.name.into_deserializer())
            .map_err(|unknown: ReadError| unknown.at(self.steps))?;
        Ok((name, self))
    }
}

impl Word<'_> {
    fn lacks_settings(&self) -> ReadError {
        let name = self.name;
        error(Fault::Value, format!("`{name}` is a table: write `{{{name}: {{}}}}`")).at(self.steps)
    }
}

impl<'de> VariantAccess<'de> for Word<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, ReadError> {
        Err(self.lacks_settings())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, ReadError> {
        Err(self.lacks_settings())
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, ReadError> {
        Err(self.lacks_settings())
    }
}

/// `{kind: settings}`.
struct Variant<'a> {
    name: &'a str,
    value: &'a Node,
    steps: Steps<'a>,
    outer: Option<&'a Steps<'a>>,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let name =
            seed.deserialize(self.name.into_deserializer()).map_err(|mut unknown: ReadError| {
                unknown.fault = Fault::Key;
                unknown.at(Some(&self.steps))
            })?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Err(error(Fault::Value, format!("`{}` has no settings", self.name)).at(self.outer))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(Reader { node: self.value, steps: Some(&self.steps) })
            .map_err(|error| error.at(Some(&self.steps)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, ReadError> {
        Err(error(Fault::Value, format!("`{}` has no list", self.name)).at(self.outer))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        Reader { node: self.value, steps: Some(&self.steps) }.visit(visitor)
    }
}
