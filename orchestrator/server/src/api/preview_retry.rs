//! `PreviewRetry`: what a retry with another payload would send. `Retry` holds its payload against the same schema.

use saga_core::{Payload, Status};
use saga_dsl::{
    check::Catalog,
    json::{Json, Shape, edit},
    types::Type,
};
use saga_proto::v1 as wire;

use super::{
    Api,
    deploy::Registered,
    error::{Code, Refusal},
    picture, resolve,
    steering::document,
};
use saga_engine::document::clean_text;

/// Fields of one edit.
const FIELDS_MAX: usize = 256;

pub(super) async fn preview_retry(
    api: &Api,
    request: wire::PreviewRetryRequest,
) -> Result<wire::PreviewRetryResponse, Refusal> {
    let target = target(api, &request.saga, &request.step).await?;
    if request.fields.len() > FIELDS_MAX {
        let text = format!("fields: an edit sets at most {FIELDS_MAX}");
        return Err(Refusal::new(Code::Malformed, text));
    }
    let whole = document("input", &request.input)?;
    let base = whole.or_else(|| target.input.clone()).ok_or_else(|| {
        let text = format!(
            "fields: step `{}` has no input yet that could be edited; give the whole of it",
            request.step
        );
        Refusal::new(Code::Malformed, text)
    })?;
    let after = edited(base, &target.ty, &request.fields)?;
    Ok(wire::PreviewRetryResponse {
        before: target
            .input
            .map(|input| input.text().to_owned().into_bytes().into())
            .unwrap_or_default(),
        mismatches: mismatches(&target.ty, &after),
        after: after.text().to_owned().into_bytes().into(),
        action: target.action,
    })
}

/// Refuses a payload that does not fit what the participant registered for the step.
pub(super) async fn fits(
    api: &Api,
    saga: &str,
    step: &str,
    input: &Payload,
) -> Result<(), Refusal> {
    let target = target(api, saga, step).await?;
    let found = mismatches(&target.ty, input);
    if found.is_empty() {
        return Ok(());
    }
    let text = format!(
        "the input does not fit what {} registered: {}",
        target.action,
        found.join("; ")
    );
    Err(Refusal::new(Code::Input, clean_text(text, 8 * 1024)))
}

/// What a retry of a step would ask.
struct Target {
    action: String,
    /// The payload that it has.
    input: Option<Payload>,
    /// What the participant takes.
    ty: Type,
}

async fn target(api: &Api, saga: &str, step: &str) -> Result<Target, Refusal> {
    let id = resolve::resolve(api, saga).await?;
    let picture = picture::load(api, id)
        .await?
        .folded
        .map_err(|why| Refusal::new(Code::NotRunning, why))?;
    let no_such = || {
        let step = clean_text(step.to_owned(), 256);
        Refusal::new(Code::NoSuchStep, format!("saga {id} has no step `{step}`"))
    };
    let ix = picture.plan.step_ix(step).ok_or_else(no_such)?;
    let (planned, state) = picture
        .plan
        .step(ix)
        .zip(picture.state.steps.get(ix.at()))
        .ok_or_else(no_such)?;
    // A retry acts on the side that the saga is at.
    let undo = planned
        .compensation
        .as_ref()
        .filter(|_| picture.state.status == Status::Compensating);
    let (participant, action, input) = match undo {
        Some(undo) => (&undo.participant, &undo.action, &state.undo_input),
        None => (
            &planned.action.participant,
            &planned.action.action,
            &state.input,
        ),
    };
    let schema = Registered::of(&api.parts().directory)
        .await
        .action(participant, action);
    Ok(Target {
        action: format!("{participant}/{action}"),
        input: input.clone(),
        ty: schema.map_or(Type::Any, |schema| schema.input),
    })
}

fn edited(base: Payload, ty: &Type, fields: &[wire::FieldEdit]) -> Result<Payload, Refusal> {
    let mut document = base;
    for field in fields {
        let path = field.path.join(".");
        let wrong = |why: String| {
            Refusal::new(Code::Malformed, clean_text(format!("{path}: {why}"), 1_024))
        };
        let ty = match ty.at(&field.path) {
            // A participant without a schema: what is a text stays one.
            Type::Any if is_text(document.json(), &field.path) => &Type::String,
            ty => ty,
        };
        let value = ty
            .entered(&field.text)
            .map_err(|fault| wrong(fault.to_string()))?;
        let text = edit::with_field(document.json(), &field.path, &value);
        let text = text.map_err(|fault| wrong(fault.to_string()))?;
        document = saga_engine::document::read(text.as_bytes())?;
    }
    Ok(document)
}

fn is_text(document: Json<'_>, path: &[String]) -> bool {
    let found = path.iter().try_fold(document, |json, name| json.get(name));
    found.is_some_and(|json| matches!(json.shape(), Shape::Text(_)))
}

/// Where a payload does not fit. A field that the schema does not name is left to the participant, unless it looks like
/// the misspelled name of one that is missing.
fn mismatches(ty: &Type, input: &Payload) -> Vec<String> {
    let found = ty.check_json(input.json()).into_iter();
    found
        .filter(|mismatch| mismatch.message != "no such field")
        .map(|mismatch| mismatch.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_schema_a_text_stays_a_text() {
        let base =
            Payload::from_bytes(br#"{"zip":"1011","n":1.10,"to":{"zip":"1"}}"#).expect("JSON");
        let set = |path: &str, text: &str| wire::FieldEdit {
            path: path.split('.').map(str::to_owned).collect(),
            text: text.to_owned(),
        };
        let fields = [set("zip", "10115"), set("to.zip", "1e3"), set("new", "7")];
        let found = edited(base, &Type::Any, &fields).expect("an edit");
        assert_eq!(
            found.text(),
            r#"{"n":1.10,"new":7,"to":{"zip":"1e3"},"zip":"10115"}"#
        );
        let refusal =
            edited(found, &Type::Any, &[set("n.x", "1")]).expect_err("a number has no fields");
        assert_eq!(refusal.code, Code::Malformed);
    }
}
