//! Which saga does a request mean? An id, the end of an id, or `definition/key`.

use saga_core::SagaId;

use super::{
    Api,
    error::{Code, Refusal},
};

/// Fewest letters of a suffix.
const SUFFIX_LETTERS_MIN: usize = 4;
/// Most candidates that a message lists.
const CANDIDATES: usize = 5;

/// Finds the saga that a text names.
pub(super) async fn resolve(api: &Api, text: &str) -> Result<SagaId, Refusal> {
    let store = &api.parts().store;
    if let Ok(id) = text.parse::<SagaId>() {
        return Ok(id);
    }
    let shown = saga_engine::document::clean_text(text.to_owned(), 256);
    let none = |help: &str| Refusal::new(Code::NoSuchSaga, format!("no saga `{shown}`; {help}"));
    if let Some((name, key)) = text.split_once('/') {
        let found = store.find_by_key(name.to_owned(), key.to_owned()).await?;
        return found.ok_or_else(|| none("no start of that definition had this key"));
    }
    if text.len() < SUFFIX_LETTERS_MIN || SagaId::parse_suffix(text).is_none() {
        return Err(Refusal::new(
            Code::Malformed,
            format!(
                "`{shown}` names no saga; write its id, at least four letters from the id's end, or definition/key"
            ),
        ));
    }
    let found = store
        .find_by_suffix(text.to_owned(), CANDIDATES + 1)
        .await?;
    match found.as_slice() {
        [] => Err(none("no id ends in these letters")),
        [id] => Ok(*id),
        several => {
            let more = if several.len() > CANDIDATES {
                ", ..."
            } else {
                ""
            };
            let list = several
                .iter()
                .take(CANDIDATES)
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            let message = format!("several ids end in `{shown}`: {list}{more}; write more letters");
            Err(Refusal::new(Code::Ambiguous, message))
        }
    }
}
