//! `saga-lethal FOLDER [POSTGRES_URL]`: the participant `left`.
//!
//! Its action `act` ends its own process where the input says `n: 0`, after it has written a line with the attempt to
//! `deaths` in the folder. Its action `long` accepts work that nobody ends, and notes that in `accepted`; called again for
//! work that was left, it ends it.
//!
//! It joins what `SAGA_ENDPOINT` names, and keeps its inbox in the folder or in the database.

use std::{error::Error, fs::File, io::Write, path::PathBuf};

use saga_participant::{
    Ctx, Outcome, Participant, PgInbox, Result as Handled, SqliteInbox, Store, Undo,
};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let log = tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_writer(std::io::stderr);
    log.init();
    let mut arguments = std::env::args_os().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name a folder")?);
    match arguments.next() {
        None => serve(SqliteInbox::open(folder.join("left.db")).await?, folder).await,
        Some(url) => {
            let url = url.into_string().map_err(|_| "the URL is no text")?;
            serve(PgInbox::connect(&url).await?, folder).await
        }
    }
}

async fn serve<I, S>(inbox: I, folder: PathBuf) -> Result<(), Box<dyn Error>>
where
    I: saga_participant::inbox::Inbox<Store = S>,
    S: Store<Inbox = I>,
{
    let (deaths, accepted) = (folder.join("deaths"), folder.join("accepted"));
    Participant::<S>::new("left")
        .inbox(inbox)
        .action("act", move |ctx: Ctx<S>, input: Value| {
            let deaths = deaths.clone();
            async move { act(&ctx, &input, deaths) }
        })
        .action("long", move |ctx: Ctx<S>, _: Value| {
            let accepted = accepted.clone();
            async move { Ok(long(&ctx, accepted)) }
        })
        .compensation("undo", |_ctx: Ctx<S>, _undo: Undo<Value, Value>| async {
            Ok(())
        })
        .serve_from_env()
        .await?;
    Ok(())
}

fn note(line: u32, ledger: PathBuf) {
    let ledger = File::options().create(true).append(true).open(ledger);
    ledger
        .and_then(|mut ledger| ledger.write_all(format!("{line}\n").as_bytes()))
        .expect("the ledger");
}

fn act<S: Store>(ctx: &Ctx<S>, input: &Value, deaths: PathBuf) -> Handled<Value> {
    if input["n"] == 0 {
        note(ctx.attempt(), deaths);
        std::process::abort();
    }
    Ok(json!({}))
}

fn long<S: Store>(ctx: &Ctx<S>, accepted: PathBuf) -> Outcome<Value> {
    if ctx.resumed() {
        return Outcome::Done(json!({"resumed_in": ctx.attempt()}));
    }
    note(ctx.attempt(), accepted);
    Outcome::Accepted
}
