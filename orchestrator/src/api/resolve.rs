//! Which saga does a request mean? An id, the end of an id, or `definition/key`.

use saga_core::SagaId;

use super::{
    Api,
    error::{Code, Refusal},
};
use crate::store::record::RowStatus;

/// Fewest letters of a suffix.
const SUFFIX_LETTERS_MIN: usize = 4;
/// Finished sagas that stores search by the end of an id: [`crate::store::Reading::find_by_suffix`].
const FINISHED_SEARCHED: u64 = 100_000;
/// Most candidates that a message lists.
const CANDIDATES: usize = 5;

/// Finds the saga that a text names.
pub(super) async fn resolve(api: &Api, text: &str) -> Result<SagaId, Refusal> {
    let store = &api.parts().store;
    if let Ok(id) = text.parse::<SagaId>() {
        return Ok(id);
    }
    let shown = crate::document::clean_text(text.to_owned(), 256);
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
        [] => Err(none(&nowhere(store.counts().await?))),
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

/// Why no id was found; the search ends after the newest finished ones.
fn nowhere(counts: Vec<(RowStatus, u64)>) -> String {
    let finished: u64 = counts
        .iter()
        .filter(|(status, _)| !status.is_open())
        .map(|(_, count)| count)
        .sum();
    if finished <= FINISHED_SEARCHED {
        return "no id ends in these letters".to_owned();
    }
    format!(
        "none of the open and of the newest {FINISHED_SEARCHED} finished ones ends in these letters; write its whole id, \
         or definition/key"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_about_a_suffix_says_how_far_the_search_went() {
        let few = vec![
            (RowStatus::Running, 200_000),
            (RowStatus::Completed, 100_000),
        ];
        assert_eq!(nowhere(few), "no id ends in these letters");
        let many = nowhere(vec![
            (RowStatus::Completed, 99_999),
            (RowStatus::Compensated, 2),
        ]);
        assert!(
            many.contains("newest 100000 finished") && many.contains("whole id"),
            "{many}"
        );
    }
}
