//! `saga-lethal FOLDER`: the participant `left`, whose action `act` ends its own process where the input says `n: 0`.
//!
//! It joins what `SAGA_ENDPOINT` names, keeps its inbox in the folder, and writes a line with the attempt to `deaths` there
//! before it dies.

use std::{error::Error, fs::File, io::Write, path::PathBuf};

use saga_participant::{Ctx, Participant, Result as Handled, Sqlite, SqliteInbox, Undo};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let log = tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_writer(std::io::stderr);
    log.init();
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("name a folder")?);
    let inbox = SqliteInbox::open(folder.join("left.db")).await?;
    let deaths = folder.join("deaths");
    Participant::new("left")
        .inbox(inbox)
        .action("act", move |ctx: Ctx<Sqlite>, input: Value| {
            let deaths = deaths.clone();
            async move { act(&ctx, &input, deaths) }
        })
        .compensation(
            "undo",
            |_ctx: Ctx<Sqlite>, _undo: Undo<Value, Value>| async { Ok(()) },
        )
        .serve_from_env()
        .await?;
    Ok(())
}

fn act(ctx: &Ctx<Sqlite>, input: &Value, deaths: PathBuf) -> Handled<Value> {
    if input["n"] == 0 {
        let line = format!("{}\n", ctx.attempt());
        let ledger = File::options().create(true).append(true).open(deaths);
        ledger
            .and_then(|mut ledger| ledger.write_all(line.as_bytes()))
            .expect("the ledger of deaths");
        std::process::abort();
    }
    Ok(json!({}))
}
