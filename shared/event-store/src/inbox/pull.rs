//! What a durable consumer hands out, asked for in batches: before one is used up the next is asked for. The client's own stream
//! throws away what has arrived when it is dropped; here it can be given back.

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{StatusCode, Subject, Subscriber};
use futures::StreamExt;
use tokio::time::Instant;

/// How long the broker keeps a request for more.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the broker says that it has nothing.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Not a word for so long: the request is lost.
const SILENCE: Duration = Duration::from_secs(10);

/// A consumer's messages, as they arrive.
pub(super) struct Pull {
    context: Context,
    ask: String,
    answers: Subject,
    batch: usize,
    /// How many were asked for and have not come.
    awaited: usize,
    arrived: Subscriber,
    heard: Instant,
}

/// Nothing more comes by this way; it has to be opened anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    /// The client can't send or receive any more.
    #[error("the connection is closed")]
    Closed,
    /// The broker sends neither messages nor heartbeats.
    #[error("the broker has said nothing for {} s", SILENCE.as_secs())]
    Silent,
    /// The broker refused.
    #[error("it answered {status}: {description}")]
    Refused {
        status: StatusCode,
        description: String,
    },
}

impl Pull {
    /// Opens a way for the messages of the durable consumer `name` of the stream `stream`.
    pub(super) async fn open(
        context: &Context,
        stream: &str,
        name: &str,
        batch: usize,
    ) -> Result<Self, async_nats::SubscribeError> {
        let client = context.client();
        let answers = Subject::from(client.new_inbox());
        let arrived = client.subscribe(answers.clone()).await?;
        Ok(Self {
            context: context.clone(),
            ask: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"),
            answers,
            batch,
            awaited: 0,
            arrived,
            heard: Instant::now(),
        })
    }

    /// The next message. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<jetstream::Message, PullError> {
        loop {
            if self.awaited <= self.batch / 2 {
                self.ask().await?;
            }
            let message = tokio::select! {
                biased;
                message = self.arrived.next() => message.ok_or(PullError::Closed)?,
                () = tokio::time::sleep_until(self.heard + SILENCE) => return Err(PullError::Silent),
            };
            self.heard = Instant::now();
            if let Some(message) = self.read(message)? {
                return Ok(message);
            }
        }
    }

    /// Asks for nothing more, and returns what has arrived.
    pub(super) async fn close(mut self) -> Vec<jetstream::Message> {
        // An error means that the client is closed: then nothing can be given back either.
        if self.arrived.drain().await.is_err() {
            return Vec::new();
        }
        let mut left = Vec::new();
        while let Some(message) = self.arrived.next().await {
            if let Ok(Some(message)) = self.read(message) {
                left.push(message);
            }
        }
        left
    }

    async fn ask(&mut self) -> Result<(), PullError> {
        let request = serde_json::json!({
            "batch": self.batch,
            "expires": nanoseconds(EXPIRES),
            "idle_heartbeat": nanoseconds(HEARTBEAT),
        });
        let (subject, answers) = (self.ask.clone(), self.answers.clone());
        let client = self.context.client();
        client
            .publish_with_reply(subject, answers, request.to_string().into())
            .await
            .map_err(|_| PullError::Closed)?;
        self.awaited += self.batch;
        Ok(())
    }

    /// A message of the stream; none where the broker only said something about our request.
    fn read(
        &mut self,
        message: async_nats::Message,
    ) -> Result<Option<jetstream::Message>, PullError> {
        let status = message.status.unwrap_or(StatusCode::OK);
        match status {
            StatusCode::OK => {
                self.awaited = self.awaited.saturating_sub(1);
                Ok(Some(jetstream::Message {
                    message,
                    context: self.context.clone(),
                }))
            }
            StatusCode::IDLE_HEARTBEAT => Ok(None),
            // A request has expired, or ends early, as when the consumer's leader changes.
            StatusCode::TIMEOUT | StatusCode::REQUEST_TERMINATED if !is_final(&message) => {
                let headers = message.headers.as_ref();
                let left = headers.and_then(|headers| headers.get("Nats-Pending-Messages"));
                let left = left.and_then(|left| left.as_str().parse().ok());
                self.awaited = self.awaited.saturating_sub(left.unwrap_or(self.batch));
                Ok(None)
            }
            status => Err(PullError::Refused {
                status,
                description: message.description.unwrap_or_default().to_string(),
            }),
        }
    }
}

/// Whether the same request would only be answered so again.
fn is_final(message: &async_nats::Message) -> bool {
    message.description.as_deref().is_some_and(|description| {
        ["Consumer Deleted", "Consumer is push based"].contains(&description)
            || description.starts_with("Exceeded MaxRequest")
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
