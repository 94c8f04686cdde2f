//! Plain async functions as handlers: how they are typed, described and called.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    OUTPUT_BYTES_MAX,
    command::Known,
    context::Ctx,
    inbox::Store,
    reply::{Failure, HandlerError, NeedsOperator, Outcome, Reject, Result, Stop},
};

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A handler without its types: context and the action's stored output in, JSON out.
pub(crate) type Erased<S> =
    Arc<dyn Fn(Ctx<S>, Option<Bytes>) -> BoxFuture<Result<Outcome<Bytes>>> + Send + Sync>;

/// What a compensation gets: everything that is known of the action it undoes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo<I, O> {
    /// The action's input.
    pub input: I,
    /// The action's output; absent when neither orchestrator nor inbox has one.
    pub output: Option<O>,
    /// The action's idempotency key, as it was told to remote services.
    pub action_key: String,
    /// Whether the orchestrator saw the action succeed.
    pub known: Known,
}

/// The wire form of [`Undo`].
#[derive(Deserialize, JsonSchema)]
struct UndoBody<I, O> {
    input: I,
    output: Option<O>,
    action_key: String,
}

/// What an action's handler may return: its output, or [`Outcome`] where it accepts long work.
pub trait ActionOutput: Send + 'static {
    /// The output as the saga file reads it.
    type Output: Serialize + JsonSchema;

    /// Output or acceptance.
    fn into_outcome(self) -> Outcome<Self::Output>;
}

impl<O: Serialize + JsonSchema + Send + 'static> ActionOutput for O {
    type Output = O;

    fn into_outcome(self) -> Outcome<O> {
        Outcome::Done(self)
    }
}

impl<O: Serialize + JsonSchema + Send + 'static> ActionOutput for Outcome<O> {
    type Output = O;

    fn into_outcome(self) -> Outcome<O> {
        self
    }
}

/// An async function that serves an action; `M` only helps the compiler to find the types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve an action",
    label = "not an action handler",
    note = "an action is `async fn(Ctx<S>, Input) -> saga_participant::Result<Output>`",
    note = "`Input` is `serde::Deserialize + schemars::JsonSchema`, `Output` is `serde::Serialize + schemars::JsonSchema`",
    note = "all handlers of a participant name the same `S`, and their futures are `Send`"
)]
pub trait ActionHandler<S: Store, M>: Send + Sync + 'static {
    #[doc(hidden)]
    fn register(self) -> Registered<S>;
}

impl<S, F, Fut, I, R> ActionHandler<S, fn(I) -> R> for F
where
    S: Store,
    F: Fn(Ctx<S>, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R>> + Send + 'static,
    I: DeserializeOwned + JsonSchema + Send + 'static,
    R: ActionOutput,
{
    fn register(self) -> Registered<S> {
        let handler = Arc::new(self);
        let run: Erased<S> = Arc::new(move |ctx, _| {
            let handler = handler.clone();
            Box::pin(async move {
                let input = serde_json::from_slice(&ctx.ask.input)
                    .map_err(|error| Reject::new("invalid_input", error.to_string()))?;
                match handler(ctx, input).await?.into_outcome() {
                    Outcome::Done(output) => {
                        let json = encode(&output)
                            .map_err(|failure| HandlerError(Stop::Failed(failure)))?;
                        Ok(Outcome::Done(json))
                    }
                    Outcome::Accepted => Ok(Outcome::Accepted),
                }
            })
        });
        Registered {
            run,
            input_schema: input_schema::<I>(),
            output_schema: output_schema::<R::Output>(),
        }
    }
}

/// An async function that undoes an action; `M` only helps the compiler to find the types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve a compensation",
    label = "not a compensation handler",
    note = "a compensation is `async fn(Ctx<S>, Undo<Input, Output>) -> saga_participant::Result<()>`, typed by the action it undoes",
    note = "for an input of its own, written in the saga file, register it with `compensation_with`"
)]
pub trait CompensationHandler<S: Store, M>: Send + Sync + 'static {
    #[doc(hidden)]
    fn register(self) -> Registered<S>;
}

impl<S, F, Fut, I, O> CompensationHandler<S, fn(I) -> O> for F
where
    S: Store,
    F: Fn(Ctx<S>, Undo<I, O>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
    I: DeserializeOwned + JsonSchema + Send + 'static,
    O: DeserializeOwned + JsonSchema + Send + 'static,
{
    fn register(self) -> Registered<S> {
        compensation(input_schema::<UndoBody<I, O>>(), decode_undo, self)
    }
}

/// A compensation whose input the saga file gives.
pub(crate) fn compensation_with<S, F, Fut, I>(handler: F) -> Registered<S>
where
    S: Store,
    F: Fn(Ctx<S>, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
    I: DeserializeOwned + JsonSchema + Send + 'static,
{
    compensation(
        input_schema::<I>(),
        |ctx, _| serde_json::from_slice(&ctx.ask.input),
        handler,
    )
}

fn compensation<S, F, Fut, I, D>(input_schema: String, decode: D, handler: F) -> Registered<S>
where
    S: Store,
    F: Fn(Ctx<S>, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
    I: Send + 'static,
    D: Fn(&Ctx<S>, Option<&[u8]>) -> serde_json::Result<I> + Copy + Send + Sync + 'static,
{
    let handler = Arc::new(handler);
    let run: Erased<S> = Arc::new(move |ctx, stored| {
        let handler = handler.clone();
        Box::pin(async move {
            let input = decode(&ctx, stored.as_deref())
                .map_err(|error| NeedsOperator::new("invalid_input", error.to_string()))?;
            handler(ctx, input).await?;
            Ok(Outcome::Done(Bytes::new()))
        })
    });
    Registered {
        run,
        input_schema,
        output_schema: String::new(),
    }
}

fn decode_undo<S: Store, I, O>(
    ctx: &Ctx<S>,
    stored: Option<&[u8]>,
) -> serde_json::Result<Undo<I, O>>
where
    I: DeserializeOwned,
    O: DeserializeOwned,
{
    let body: UndoBody<I, O> = serde_json::from_slice(&ctx.ask.input)?;
    let output = match (body.output, stored) {
        (Some(output), _) => Some(output),
        // The orchestrator never saw the reply, but this inbox kept it.
        (None, Some(stored)) if !stored.is_empty() => Some(serde_json::from_slice(stored)?),
        (None, Some(_) | None) => None,
    };
    Ok(Undo {
        input: body.input,
        output,
        action_key: body.action_key,
        known: ctx.ask.known,
    })
}

/// JSON of an output, checked against [`OUTPUT_BYTES_MAX`].
pub(crate) fn encode<O: Serialize>(output: &O) -> std::result::Result<Bytes, Failure> {
    let json = serde_json::to_vec(output)
        .map_err(|error| Failure::new("output_not_json", error.to_string()))?;
    if json.len() > OUTPUT_BYTES_MAX {
        let message = format!(
            "the output has {} bytes, {OUTPUT_BYTES_MAX} are allowed",
            json.len()
        );
        return Err(Failure::new("output_too_large", message));
    }
    Ok(json.into())
}

/// A handler and what is told about it at registration.
#[doc(hidden)]
pub struct Registered<S: Store> {
    pub(crate) run: Erased<S>,
    pub(crate) input_schema: String,
    pub(crate) output_schema: String,
}

fn input_schema<T: JsonSchema>() -> String {
    schema::<T>(SchemaSettings::draft07())
}

fn output_schema<T: JsonSchema>() -> String {
    schema::<T>(SchemaSettings::draft07().for_serialize())
}

fn schema<T: JsonSchema>(mut settings: SchemaSettings) -> String {
    // One self-contained schema is easier to read for machines that map it to types of their own.
    settings.inline_subschemas = true;
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .as_value()
        .to_string()
}
