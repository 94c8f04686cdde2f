//! Just enough of draft-07 to check values against our own schema. A keyword that it does not know is a panic, so
//! that nothing in the schema stays unchecked.

use std::{cell::RefCell, collections::HashMap};

use regex::Regex;
use serde_json::Value;

pub(super) struct Checker<'a> {
    schema: &'a Value,
    /// Patterns that were met before: making one takes longer than all the rest.
    patterns: RefCell<HashMap<String, Regex>>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(schema: &'a Value) -> Self {
        Self {
            schema,
            patterns: RefCell::default(),
        }
    }

    /// Whether the value is valid.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        self.valid(self.schema, value)
    }

    fn valid(&self, schema: &Value, value: &Value) -> bool {
        if let Value::Bool(answer) = schema {
            return *answer;
        }
        let schema = schema.as_object().expect("a schema is a map or a boolean");
        schema
            .iter()
            .all(|(keyword, rule)| self.keeps(schema, keyword, rule, value))
    }

    fn keeps(
        &self,
        schema: &serde_json::Map<String, Value>,
        keyword: &str,
        rule: &Value,
        value: &Value,
    ) -> bool {
        let any =
            |accepts: &dyn Fn(&Value) -> bool| rule.as_array().expect("a list").iter().any(accepts);
        let bound = || rule.as_f64().expect("a number");
        match keyword {
            "$schema" | "title" | "description" | "definitions" => true,
            "$ref" => {
                assert_eq!(
                    schema.len(),
                    1,
                    "what stands beside $ref is ignored by editors"
                );
                let pointer = rule
                    .as_str()
                    .and_then(|text| text.strip_prefix('#'))
                    .expect("a local reference");
                self.valid(self.schema.pointer(pointer).expect("a definition"), value)
            }
            "type" if rule.is_array() => any(&|name| is_type(name, value)),
            "type" => is_type(rule, value),
            "enum" => any(&|one| one == value),
            "const" => rule == value,
            "not" => !self.valid(rule, value),
            "anyOf" => any(&|one| self.valid(one, value)),
            "allOf" => !any(&|one| !self.valid(one, value)),
            "pattern" => {
                let pattern = rule.as_str().expect("a pattern");
                value
                    .as_str()
                    .is_none_or(|text| self.matches(pattern, text))
            }
            "minLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() as f64 >= bound()),
            "minimum" => value.as_f64().is_none_or(|number| number >= bound()),
            "maximum" => value.as_f64().is_none_or(|number| number <= bound()),
            "exclusiveMinimum" => value.as_f64().is_none_or(|number| number > bound()),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| self.valid(rule, item))),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as f64 >= bound()),
            "maxItems" => value
                .as_array()
                .is_none_or(|items| items.len() as f64 <= bound()),
            "required" => value
                .as_object()
                .is_none_or(|map| !any(&|key| !map.contains_key(key.as_str().expect("a key")))),
            "properties" => value.as_object().is_none_or(|map| {
                map.iter()
                    .all(|(key, value)| rule.get(key).is_none_or(|rule| self.valid(rule, value)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|map| {
                let known = schema.get("properties");
                let further = |key: &str| known.and_then(|known| known.get(key)).is_none();
                map.iter()
                    .filter(|(key, _)| further(key))
                    .all(|(_, value)| self.valid(rule, value))
            }),
            "propertyNames" => value.as_object().is_none_or(|map| {
                map.keys()
                    .all(|key| self.valid(rule, &Value::from(key.as_str())))
            }),
            unknown => panic!("the checker does not know `{unknown}`"),
        }
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        let mut patterns = self.patterns.borrow_mut();
        let known = patterns
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(pattern).expect("a good pattern"));
        known.is_match(text)
    }
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a name") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        unknown => panic!("the checker does not know the type `{unknown}`"),
    }
}
