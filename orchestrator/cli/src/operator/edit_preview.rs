//! A payload before and after an edit, in one sentence: `ship: zip "1011" → "10115"; order_id unchanged`.

use saga_dsl::json::{Json, Shape};

use crate::show::output::printable;

/// Longest value that is shown whole, in characters.
const SHOWN_CHARS: usize = 40;
/// Fields that are named as unchanged; more are counted.
const NAMED: usize = 4;

/// What the edit changes; `before` is absent where the step had no payload.
pub fn sentence(step: &str, before: Option<Json<'_>>, after: Json<'_>) -> String {
    let (mut changed, mut same) = (Vec::new(), Vec::new());
    compare("", before, Some(after), &mut changed, &mut same);
    let changes = if changed.is_empty() {
        "nothing changes".to_owned()
    } else {
        changed.join(", ")
    };
    let rest = match same.len() {
        0 => String::new(),
        count if count > NAMED => format!("; {count} other fields unchanged"),
        _ => format!("; {} unchanged", same.join(", ")),
    };
    printable(&format!("{step}: {changes}{rest}")).into_owned()
}

fn compare(
    path: &str,
    before: Option<Json<'_>>,
    after: Option<Json<'_>>,
    changed: &mut Vec<String>,
    same: &mut Vec<String>,
) {
    let name = if path.is_empty() { "the input" } else { path };
    if let (Some(Shape::Object(before)), Some(Shape::Object(after))) =
        (before.map(Json::shape), after.map(Json::shape))
    {
        let gone = before
            .iter()
            .filter(|(name, _)| after.get(name).is_none())
            .map(|(name, _)| name);
        for name in after.iter().map(|(name, _)| name).chain(gone) {
            let inner = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            };
            compare(&inner, before.get(name), after.get(name), changed, same);
        }
        return;
    }
    if before.map(Json::written) == after.map(Json::written) {
        same.push(name.to_owned());
    } else {
        changed.push(format!("{name} {} → {}", shown(before), shown(after)));
    }
}

fn shown(json: Option<Json<'_>>) -> String {
    let Some(json) = json else {
        return "(absent)".to_owned();
    };
    let text = json.written();
    if text.chars().count() <= SHOWN_CHARS {
        return text.to_owned();
    }
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    format!("{cut}… ({} bytes)", text.len())
}

#[cfg(test)]
mod tests {
    use saga_core::Payload;

    use super::*;

    fn told(before: &str, after: &str) -> String {
        let read = |text: &str| Payload::from_bytes(text.as_bytes()).expect("JSON");
        let (before, after) = (read(before), read(after));
        sentence("ship", Some(before.json()), after.json())
    }

    #[test]
    fn the_change_is_shown_field_by_field() {
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(100));
        let all = [
            told(
                r#"{"order_id":"o1","zip":"1011"}"#,
                r#"{"order_id":"o1","zip":"10115"}"#,
            ),
            told(
                r#"{"to":{"zip":10115,"city":"Berlin"}}"#,
                r#"{"to":{"zip":"10115","city":"Berlin"}}"#,
            ),
            told(r#"{"n":100}"#, r#"{"n":100.0,"note":"x"}"#),
            told(r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
            told(r#"{"a":1}"#, r#"{"a":1}"#),
            told(r#"{"a":1}"#, &long),
            told(
                r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}"#,
                r#"{"a":2,"b":1,"c":1,"d":1,"e":1,"f":1}"#,
            ),
            told("[1]", "[2]"),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        ship: zip "1011" → "10115"; order_id unchanged
        ship: to.zip 10115 → "10115"; to.city unchanged
        ship: n 100 → 100.0, note (absent) → "x"
        ship: b 2 → (absent); a unchanged
        ship: nothing changes; a unchanged
        ship: a 1 → "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… (102 bytes)
        ship: a 1 → 2; 5 other fields unchanged
        ship: the input [1] → [2]
        "#);
    }
}
