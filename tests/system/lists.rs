//! Pages, filters, and which saga a text means.

use std::collections::BTreeSet;

use saga_proto::v1::{ListSagasRequest, StartSagaRequest};
use saga_tests::{
    Rig, Say, Script,
    client::{code, start},
};
use serde_json::json;

use crate::files::{PAIR_AT_LEAST_ONCE, SINGLE};

/// Every id that a filter lets through, newest first, read in pages of 17; before each page another saga is started.
async fn pages(rig: &Rig, filter: ListSagasRequest) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    let mut request = ListSagasRequest {
        page_size: 17,
        ..filter
    };
    loop {
        rig.clients.begin("single", json!({"n": 7})).await;
        let page = rig.clients.list(request.clone()).await;
        assert!(page.sagas.len() <= 17);
        ids.extend(page.sagas.into_iter().map(|saga| saga.id));
        if page.next_page_token.is_empty() {
            let unique: BTreeSet<_> = ids.iter().collect();
            assert_eq!(unique.len(), ids.len(), "each once");
            assert!(ids.is_sorted_by(|a, b| a > b), "newest first");
            return ids;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn pages_show_every_saga_once_while_others_start() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left").act("act", |call| {
        if call.input["n"] == 1 {
            Say::Refuse("no")
        } else {
            Say::Succeed(json!({}))
        }
    });
    let right = Script::plain(&rig, "right").refuse("act", "no");
    let left_again = left.clone().undo("undo", |_| Say::Refuse("never"));
    let _left = left_again.serve_from_memory(&rig).await;
    let _right = right.serve_from_memory(&rig).await;
    let single = SINGLE.replace(
        "compensation: left/undo}",
        "compensation: left/undo, at_least_once: true}",
    );
    rig.clients.deploy(&single).await;
    rig.clients.deploy(PAIR_AT_LEAST_ONCE).await;

    let mut completed = BTreeSet::new();
    let mut compensated = BTreeSet::new();
    let mut stuck = BTreeSet::new();
    let mut labelled = BTreeSet::new();
    for n in 0..250_u32 {
        let (name, input) = match n % 5 {
            0 => ("single", json!({"n": 1})),
            1 => ("pair", json!({"n": 0})),
            _ => ("single", json!({"n": 0})),
        };
        let labels = if n % 2 == 0 {
            [("team".to_owned(), "blue".to_owned())].into()
        } else {
            [].into()
        };
        let request = StartSagaRequest {
            labels,
            ..start(name, input)
        };
        let id = rig
            .clients
            .try_start(request)
            .await
            .expect("a start")
            .saga_id;
        let id = saga_tests::id_of(&id);
        if n % 2 == 0 {
            labelled.insert(id.clone());
        }
        match n % 5 {
            0 => &mut compensated,
            1 => &mut stuck,
            _ => &mut completed,
        }
        .insert(id);
    }
    let all: BTreeSet<_> = completed
        .iter()
        .chain(&compensated)
        .chain(&stuck)
        .cloned()
        .collect();
    let newest = all.last().expect("some").clone();
    for id in &all {
        if stuck.contains(id) {
            rig.clients
                .until(id, "an incident", |seen| !seen.incidents.is_empty())
                .await;
        } else {
            rig.clients.ended(id).await;
        }
    }
    let ours = |ids: Vec<String>| {
        ids.into_iter()
            .filter(|id| *id <= newest)
            .collect::<BTreeSet<_>>()
    };
    let list = ListSagasRequest::default;

    assert_eq!(ours(pages(&rig, list()).await), all);
    let statuses = vec!["compensated".to_owned()];
    assert_eq!(
        ours(pages(&rig, ListSagasRequest { statuses, ..list() }).await),
        compensated
    );
    let statuses = vec!["completed".to_owned(), "compensated".to_owned()];
    assert_eq!(
        ours(pages(&rig, ListSagasRequest { statuses, ..list() }).await),
        &completed | &compensated
    );
    let name = "pair".to_owned();
    assert_eq!(
        ours(pages(&rig, ListSagasRequest { name, ..list() }).await),
        stuck
    );
    let mark = "incident".to_owned();
    assert_eq!(
        ours(pages(&rig, ListSagasRequest { mark, ..list() }).await),
        stuck
    );
    assert_eq!(
        ours(
            pages(
                &rig,
                ListSagasRequest {
                    open_only: true,
                    ..list()
                }
            )
            .await
        ),
        stuck
    );
    let labels = [("team".to_owned(), "blue".to_owned())].into();
    assert_eq!(
        ours(pages(&rig, ListSagasRequest { labels, ..list() }).await),
        labelled
    );
    let middle = all.iter().nth(100).expect("250").clone();
    let started_after_us = rig
        .clients
        .get(&middle)
        .await
        .summary
        .expect("a summary")
        .started_at_us;
    let after = ours(
        pages(
            &rig,
            ListSagasRequest {
                started_after_us,
                ..list()
            },
        )
        .await,
    );
    let later: BTreeSet<_> = all.iter().filter(|id| **id > middle).cloned().collect();
    assert_eq!(&after - &[middle].into(), later);

    for wrong in [
        ListSagasRequest {
            statuses: vec!["done".to_owned()],
            ..list()
        },
        ListSagasRequest {
            mark: "odd".to_owned(),
            ..list()
        },
        ListSagasRequest {
            page_token: "odd".to_owned(),
            ..list()
        },
    ] {
        let refusal = rig
            .clients
            .sagas
            .clone()
            .list_sagas(wrong)
            .await
            .expect_err("no such filter");
        assert_eq!(code(&refusal), "A0400");
    }
}

#[tokio::test]
async fn a_saga_is_named_by_its_id_by_the_end_of_it_or_by_its_key() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve_from_memory(&rig).await;
    let single = SINGLE.replace(
        "compensation: left/undo}",
        "compensation: left/undo, at_least_once: true}",
    );
    rig.clients.deploy(&single).await;
    let request = StartSagaRequest {
        key: "a/b c".to_owned(),
        ..start("single", json!({"n": 0}))
    };
    let id = saga_tests::id_of(
        &rig.clients
            .try_start(request)
            .await
            .expect("a start")
            .saga_id,
    );
    for name in [
        &id,
        &id.to_lowercase(),
        &id[18..],
        &id[22..].to_lowercase(),
        "single/a/b c",
    ] {
        let seen = rig.clients.get(name).await;
        assert_eq!(seen.summary.expect("a summary").id, id, "{name}");
    }
    for (name, expected) in [
        (&id[23..], "A0400"),
        ("", "A0400"),
        ("!!!!!", "A0400"),
        ("single/other", "A0404"),
        ("other/a/b c", "A0404"),
        ("0000000", "A0404"),
    ] {
        let refusal = rig.clients.try_get(name).await.expect_err("nobody");
        assert_eq!(code(&refusal), expected, "{name}: {refusal}");
    }
    // Two ids that end alike: a request's id carries its end into the saga's.
    let twin = |time: u8| {
        let mut request = *uuid::Uuid::now_v7().as_bytes();
        request[5] ^= time;
        request[8..].copy_from_slice(&[0x81, 2, 3, 4, 5, 6, 7, 8]);
        StartSagaRequest {
            request_id: request.to_vec().into(),
            ..start("single", json!({"n": 0}))
        }
    };
    let mut twins = Vec::new();
    for time in [1, 2] {
        let started = rig.clients.try_start(twin(time)).await.expect("a start");
        assert!(started.created);
        twins.push(saga_tests::id_of(&started.saga_id));
    }
    assert_eq!(twins[0][20..], twins[1][20..]);
    let refusal = rig
        .clients
        .try_get(&twins[0][20..])
        .await
        .expect_err("two of that name");
    assert_eq!(code(&refusal), "A0406");
    assert!(
        twins.iter().all(|id| refusal.message().contains(id)),
        "{refusal}"
    );
}
