//! JSON Schemas of participants as types, where they fit.

use serde_json::{Map, Value};

use super::Type;

/// References followed and levels entered at most; beyond them everything is [`Type::Any`].
const DEPTH_MAX: usize = 24;
/// Schemas visited at most, so that references cannot multiply.
const VISITS_MAX: usize = 2_000;

impl Type {
    /// The type that a JSON Schema describes; [`Type::Any`] where it says what types cannot.
    ///
    /// Formats are ignored: a `date-time` is a string here, since such a schema is not pinned with a definition
    /// and must not change how expressions evaluate. What is not required becomes optional.
    #[must_use]
    pub fn from_json_schema(schema: &Value) -> Self {
        Reader {
            document: schema,
            visits_left: VISITS_MAX,
        }
        .ty(schema, DEPTH_MAX)
    }
}

struct Reader<'a> {
    document: &'a Value,
    visits_left: usize,
}

impl Reader<'_> {
    fn ty(&mut self, schema: &Value, depth: usize) -> Type {
        let (Some(depth), Some(visits)) = (depth.checked_sub(1), self.visits_left.checked_sub(1))
        else {
            return Type::Any;
        };
        self.visits_left = visits;
        let Some(schema) = schema.as_object() else {
            return Type::Any;
        };
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let document = self.document;
            return match reference
                .strip_prefix('#')
                .and_then(|pointer| document.pointer(pointer))
            {
                Some(target) => self.ty(target, depth),
                None => Type::Any,
            };
        }
        let ty = self
            .alternatives(schema, depth)
            .unwrap_or_else(|| self.plain(schema, depth));
        match schema.get("nullable") {
            Some(Value::Bool(true)) => optional(ty),
            _ => ty,
        }
    }

    /// `anyOf` and `oneOf` fit where all members are of one type, null aside; `allOf` with a single member.
    fn alternatives(&mut self, schema: &Map<String, Value>, depth: usize) -> Option<Type> {
        let (members, all) = ["anyOf", "oneOf", "allOf"]
            .into_iter()
            .find_map(|keyword| Some((schema.get(keyword)?.as_array()?, keyword == "allOf")))?;
        let is_null = |member: &&Value| member.get("type").and_then(Value::as_str) == Some("null");
        let others: Vec<_> = members.iter().filter(|member| !is_null(member)).collect();
        let has_null = others.len() < members.len();
        if all && members.len() > 1 {
            return Some(Type::Any);
        }
        let joined = others
            .iter()
            .map(|member| self.ty(member, depth))
            .reduce(|a, b| if a == b { a } else { Type::Any })
            .unwrap_or(Type::Any);
        Some(if has_null && joined != Type::Any {
            optional(joined)
        } else {
            joined
        })
    }

    fn plain(&mut self, schema: &Map<String, Value>, depth: usize) -> Type {
        match schema.get("type") {
            Some(Value::String(name)) => self.named(name, schema, depth),
            Some(Value::Array(names)) => {
                let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
                let others: Vec<_> = names.iter().filter(|name| **name != "null").collect();
                match others.as_slice() {
                    [only] if names.len() > 1 => optional(self.named(only, schema, depth)),
                    [only] => self.named(only, schema, depth),
                    _ => Type::Any,
                }
            }
            _ => {
                let constant = schema.get("const").map(std::slice::from_ref);
                let values = constant.or(schema
                    .get("enum")
                    .and_then(Value::as_array)
                    .map(Vec::as_slice));
                match values {
                    Some(values) if !values.is_empty() && values.iter().all(Value::is_string) => {
                        Type::String
                    }
                    _ => Type::Any,
                }
            }
        }
    }

    fn named(&mut self, name: &str, schema: &Map<String, Value>, depth: usize) -> Type {
        match name {
            "string" => Type::String,
            "integer" => Type::Int,
            "number" => Type::Double,
            "boolean" => Type::Bool,
            "array" => match schema.get("items") {
                Some(items) => Type::List(Box::new(self.ty(items, depth))),
                None => Type::List(Box::new(Type::Any)),
            },
            "object" => self.object(schema, depth),
            _ => Type::Any,
        }
    }

    fn object(&mut self, schema: &Map<String, Value>, depth: usize) -> Type {
        // Left out it means "ignored" to most services; written out it means that such fields matter.
        let open = !matches!(
            schema.get("additionalProperties"),
            None | Some(Value::Bool(false))
        );
        let patterns = schema.contains_key("patternProperties");
        let Some(Value::Object(properties)) = schema.get("properties") else {
            let closed =
                schema.get("additionalProperties") == Some(&Value::Bool(false)) && !patterns;
            return if closed {
                Type::Object(std::collections::BTreeMap::new())
            } else {
                Type::Any
            };
        };
        if open || patterns {
            return Type::Any;
        }
        let required: Vec<_> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let fields = properties.iter().map(|(name, property)| {
            let ty = self.ty(property, depth);
            let ty = if required.contains(&name.as_str()) {
                ty
            } else {
                optional(ty)
            };
            (name.clone(), ty)
        });
        Type::Object(fields.collect())
    }
}

fn optional(ty: Type) -> Type {
    match ty {
        Type::Optional(_) => ty,
        other => Type::Optional(Box::new(other)),
    }
}
