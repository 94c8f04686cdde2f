//! From a start request to a job for the lane. The hottest path of the API: a start without a key costs one
//! parse, one check and one hash.

use std::{collections::BTreeMap, sync::Arc};

use saga_core::{Partition, SagaId, input::Start};
use saga_dsl::{near_miss::near_miss, plan::Plan};
use saga_proto::v1 as wire;
use uuid::Uuid;

use super::{
    Api,
    error::{Code, Refusal},
    input::{check_key, evaluate_key},
};
use saga_engine::{
    clock,
    definitions::Definitions,
    input_hash,
    lane::{
        intake::{Holds, StartJob},
        waiting::Ticket,
    },
};

const LABELS_MAX: usize = 64;
/// In characters.
const LABEL_KEY_MAX: usize = 63;
/// In characters.
const LABEL_VALUE_MAX: usize = 256;
/// A request's time may lie this much ahead of the server's clock, in milliseconds: ids sort by their time.
const REQUEST_AHEAD_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// A checked start, with nobody listening yet.
pub(super) fn prepare(api: &Api, request: wire::StartSagaRequest) -> Result<StartJob, Refusal> {
    let plan = find_plan(&api.parts().definitions, &request.name, request.version)?;
    let input = api.shared.input_types.read(&plan, &request.input)?;
    let key = if request.key.is_empty() {
        evaluate_key(&plan, &input)?
    } else {
        check_key(&request.key, Code::Malformed)?;
        Some(request.key)
    };
    let request_id = request_id(&request.request_id)?;
    let (id, input_hash) = match &key {
        Some(key) => {
            let partition = partition_of(
                [request.name.as_bytes(), b"\0", key.as_bytes()],
                api.parts().lane.partitions(),
            );
            (
                fresh_id(partition),
                api.shared.input_types.hash(&plan, &input),
            )
        }
        None => {
            let request = request_id.unwrap_or_else(|| Uuid::now_v7().as_u128());
            let partition = partition_of([&request.to_be_bytes()], api.parts().lane.partitions());
            let id = SagaId::for_request(request, partition);
            (id, input_hash::of_request(&plan.definition.saga, &input))
        }
    };
    let labels = labels(&plan, request.labels)?;
    let start = Start {
        input,
        key: key.map(Arc::from),
        labels,
    };
    Ok(StartJob {
        id,
        plan,
        start,
        input_hash,
        started: None,
        ended: None,
        waits: Ticket::default(),
        holds: Holds::default(),
    })
}

/// The plan that a request names, or who was probably meant.
pub(super) fn find_plan(
    definitions: &Definitions,
    name: &str,
    version: u32,
) -> Result<Arc<Plan>, Refusal> {
    if let Some(plan) = definitions.get(name, version) {
        return Ok(plan);
    }
    let all = definitions.all();
    let versions: Vec<String> = all
        .iter()
        .filter(|p| p.definition.saga == name)
        .map(|p| p.definition.version.to_string())
        .collect();
    let name = saga_engine::document::clean_text(name.to_owned(), 256);
    let message = if !versions.is_empty() {
        format!(
            "`{name}` has no version {version}; registered: {}",
            versions.join(", ")
        )
    } else if let Some(meant) =
        near_miss(&name, all.iter().map(|plan| plan.definition.saga.as_str()))
    {
        format!("no definition `{name}` is registered; did you mean `{meant}`?")
    } else {
        format!("no definition `{name}` is registered; `saga deploy FILE` registers one")
    };
    Err(Refusal::new(Code::NoSuchDefinition, message))
}

/// A new id in a partition.
fn fresh_id(partition: Partition) -> SagaId {
    SagaId::for_request(Uuid::now_v7().as_u128(), partition)
}

/// The partition of a saga: FNV-1a (64 bits) over `name NUL key`, or over the sixteen bytes of the request id where
/// there is no key, modulo the number of partitions. Part of the store's format: it must never change.
fn partition_of<const N: usize>(parts: [&[u8]; N], partitions: u16) -> Partition {
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = parts
        .into_iter()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
        });
    Partition(u16::try_from(hash % u64::from(partitions.max(1))).unwrap_or(0))
}

/// The client's request id, which must be a `UUIDv7`.
fn request_id(bytes: &[u8]) -> Result<Option<u128>, Refusal> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let malformed = |why: &str| Refusal::new(Code::Malformed, format!("request_id: {why}"));
    let id = Uuid::from_slice(bytes).map_err(|_| malformed("a UUIDv7 has 16 bytes"))?;
    if id.get_version_num() != 7 || id.get_variant() != uuid::Variant::RFC4122 {
        return Err(malformed("not a UUIDv7"));
    }
    let unix_ms = u64::try_from(id.as_u128() >> 80).unwrap_or(u64::MAX);
    let now_ms = u64::try_from(clock::now().0 / 1_000).unwrap_or(0);
    if unix_ms > now_ms.saturating_add(REQUEST_AHEAD_MS_MAX) {
        return Err(malformed(
            "its time lies more than a day ahead of the server's clock",
        ));
    }
    Ok(Some(id.as_u128()))
}

/// The definition's labels with the request's over them.
fn labels(
    plan: &Plan,
    request: std::collections::HashMap<String, String>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut labels = plan.definition.labels.clone();
    for (key, value) in request {
        let fault = match () {
            () if key.is_empty() || key.chars().count() > LABEL_KEY_MAX => {
                "a label's key has 1 to 63 characters"
            }
            () if value.chars().count() > LABEL_VALUE_MAX => {
                "a label's value has at most 256 characters"
            }
            () if key.contains('\0') || value.contains('\0') => "a label holds a NUL character",
            () => {
                labels.insert(key, value);
                continue;
            }
        };
        return Err(Refusal::new(Code::Malformed, format!("labels: {fault}")));
    }
    if labels.len() > LABELS_MAX {
        return Err(Refusal::new(
            Code::Malformed,
            format!("labels: a saga has at most {LABELS_MAX}"),
        ));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_stable_and_spread() {
        let of = |key: &str| partition_of([&b"book_trip"[..], b"\0", key.as_bytes()], 32).0;
        assert_eq!((of("trip-1"), of("trip-2"), of("trip-3")), PINNED);
        let used: std::collections::BTreeSet<_> = (0..1_000).map(|n| of(&n.to_string())).collect();
        assert_eq!(used.len(), 32);
        assert_eq!(partition_of([&b"x"[..]], 0), Partition(0));
    }

    /// As the first release computed them.
    const PINNED: (u16, u16, u16) = (11, 30, 17);

    #[test]
    fn request_ids_are_uuids_of_version_7_from_about_now() {
        assert_eq!(request_id(b""), Ok(None));
        let good = Uuid::now_v7();
        assert_eq!(request_id(good.as_bytes()), Ok(Some(good.as_u128())));
        assert!(request_id(&[1; 15]).is_err());
        assert!(request_id(&[1; 16]).is_err());
        let far = SagaId::new(u64::MAX, Partition(1), 1).to_bytes();
        assert!(request_id(&far).is_err_and(|refusal| refusal.message.contains("a day ahead")));
    }
}
