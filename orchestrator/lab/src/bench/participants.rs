//! The participants of a run: a process that does nothing, as fast as it can, and counts what it did.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use saga_participant::{Ctx, Memory, MemoryInbox, Participant, Reject, Result, Undo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settled rows that the inbox keeps; a repeated command comes within far fewer.
const SETTLED_ROWS: usize = 250_000;
/// Handlers never wait, so this only bounds a queue.
const CONCURRENCY: usize = 16_384;

/// What happened in the participants' process, told by it in the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effects {
    /// Actions that took effect.
    pub done: u64,
    /// Actions that were refused.
    pub refused: u64,
    /// Compensations that undid an action.
    pub undone: u64,
}

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    refused: AtomicU64,
    undone: AtomicU64,
}

/// What an action is asked.
#[derive(Debug, Deserialize, JsonSchema)]
struct Work {
    n: i64,
}

/// What an action answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Worked {
    n: i64,
}

/// Serves until `over` completes and returns what was done. With `one_a_message`, no message carries several commands.
///
/// # Errors
/// When the server refuses the participant.
pub async fn serve(
    endpoint: &str,
    one_a_message: bool,
    over: impl Future<Output = ()> + Send + 'static,
) -> std::result::Result<Effects, saga_participant::Error> {
    let counters = Arc::new(Counters::default());
    let participant = participant(&counters);
    let participant = if one_a_message {
        participant.one_a_message()
    } else {
        participant
    };
    participant.serve(endpoint, over).await?;
    Ok(Effects {
        done: counters.done.load(Relaxed),
        refused: counters.refused.load(Relaxed),
        undone: counters.undone.load(Relaxed),
    })
}

fn participant(counters: &Arc<Counters>) -> Participant<Memory> {
    let (done, refused, undone) = (
        Arc::clone(counters),
        Arc::clone(counters),
        Arc::clone(counters),
    );
    Participant::new("bench")
        .action("work", move |_: Ctx<Memory>, work: Work| {
            done.done.fetch_add(1, Relaxed);
            std::future::ready(Ok(Worked { n: work.n }))
        })
        .action("refuse", move |_: Ctx<Memory>, _: Work| {
            refused.refused.fetch_add(1, Relaxed);
            std::future::ready(Result::<Worked>::Err(
                Reject::new("asked_to", "this run is to be undone").into(),
            ))
        })
        .compensation("undo", move |_: Ctx<Memory>, _: Undo<Work, Worked>| {
            undone.undone.fetch_add(1, Relaxed);
            std::future::ready(Result::Ok(()))
        })
        .inbox(MemoryInbox::new().keep_settled(SETTLED_ROWS))
        .concurrency(CONCURRENCY, CONCURRENCY)
}

#[cfg(test)]
mod tests {
    use saga_participant::Answer;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn repeated_commands_are_counted_once() {
        let counters = Arc::new(Counters::default());
        let bench = participant(&counters).test();
        let answer = bench.call("work", json!({"n": 7})).times(3).await;
        assert!(matches!(answer, Answer::Succeeded(output) if &output[..] == b"{\"n\":7}"));
        assert_eq!(bench.undo("undo").times(2).await, Answer::Compensated);
        bench.next_step();
        assert!(matches!(
            bench.call("refuse", json!({"n": 7})).times(2).await,
            Answer::Refused(_)
        ));
        let counted =
            [&counters.done, &counters.refused, &counters.undone].map(|count| count.load(Relaxed));
        assert_eq!(counted, [1, 1, 1]);
    }
}
